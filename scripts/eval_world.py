"""Scores the model's wider world: python scripts/eval_world.py [--json] [--sheet FILE]

64 held-out captions of two objects, camera moves, speeds and collisions are generated, seeds 0,
1, 2…, and read by the probe beside clips drawn for the same captions; then hand-written wordings.
Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages import tiny_t2v
from reelmesh.node.stages.tiny_t2v.wide import draw_scene
from scripts.eval_tiny_t2v import generate
from scripts.train_tiny_t2v.probe import Probe
from scripts.train_tiny_t2v.wide_captions import FREE_WIDE, canonical_wide
from scripts.train_tiny_t2v.wide_probe import WideProbe
from scripts.train_tiny_t2v.wide_render import jitters, render_wide, rows
from scripts.train_tiny_t2v.wide_scores import hits, shares

#: Least share of what the probe reads on drawn clips.
TARGETS = {"background": 0.95, "colour": 0.95, "shape": 0.90, "relation": 0.80, "camera": 0.95,
           "motion": 0.95, "speed": 0.95, "collision": 0.95}  # fmt: skip
FREE_TARGET = 0.80


def evaluate(args: argparse.Namespace) -> tuple[dict[str, Any], Tensor]:
    """Runs both lists; returns the measures and the generated clips."""
    model, probe = tiny_t2v.load(args.device), WideProbe(Probe.shipped())
    rng, generator = random.Random(args.seed), torch.Generator().manual_seed(args.seed)
    scenes = [draw_scene(rng, held_out=True) for _ in range(args.captions)]
    table = rows(scenes, generator)
    prompts = [canonical_wide(s) for s in scenes]
    truth = shares(hits(probe, render_wide(table, jitters(len(scenes), generator)), table))
    clips = generate(model, prompts, args.steps, args.guidance)
    found = hits(probe, clips, table)
    made = shares(found)
    free_clips = generate(model, [p for p, _ in FREE_WIDE], args.steps, args.guidance)
    free = shares(hits(probe, free_clips, rows([s for _, s in FREE_WIDE], generator)))
    ratio = {k: round(v / max(truth[k], 1e-9), 4) for k, v in made.items()}
    missed = [k for k, least in TARGETS.items() if k in ratio and ratio[k] < least]
    if free["all"] < FREE_TARGET * made["all"]:
        missed.append("free_wordings")
    told = {
        "model": model.model_hash, "steps": args.steps, "guidance": args.guidance,
        "seed": args.seed, "seeds": [0, len(prompts) - 1], "captions": prompts,
        "questions": {k: len(v) for k, v in found.items()},
        "truth": truth, "generated": made, "ratio": ratio,
        "free_wordings": free, "free_ratio": round(free["all"] / max(made["all"], 1e-9), 4),
        "missed": missed,
    }  # fmt: skip
    return told, clips


def show(result: dict[str, Any]) -> None:
    """Prints the result as a table, and the held-out captions."""
    print(f"model {result['model'][:16]}…  {len(result['captions'])} held-out captions drawn with "
          f"seed {result['seed']}, clips with seeds {result['seeds'][0]} to {result['seeds'][1]}, "
          f"{result['steps']} steps, guidance {result['guidance']}")  # fmt: skip
    for prompt in result["captions"]:
        print(f"  {prompt}")
    print(f"{'':<12}{'asked':>6}{'truth':>8}{'made':>8}{'ratio':>8}{'target':>8}{'free':>8}")
    for name, value in result["generated"].items():
        target = f"{TARGETS[name]:.2f}" if name in TARGETS else ""
        free = result["free_wordings"].get(name)
        print(f"{name:<12}{result['questions'].get(name, ''):>6}{result['truth'][name]:>8.3f}"
              f"{value:>8.3f}{result['ratio'][name]:>8.3f}{target:>8}"
              f"{'' if free is None else f'{free:.3f}':>8}")  # fmt: skip
    print(f"free wordings: {result['free_ratio']:.3f} of plain ones, target {FREE_TARGET}")
    print("missed: " + (", ".join(result["missed"]) or "nothing"))


def save_sheet(clips: Tensor, path: Path, count: int = 16) -> None:
    """Six frames each of the first clips, two clips a row."""
    from PIL import Image

    strips = [torch.cat(list(clip[::3]), dim=2) for clip in clips[:count]]
    pairs = [torch.cat(strips[i : i + 2], dim=2) for i in range(0, len(strips) - 1, 2)]
    Image.fromarray(torch.cat(pairs, dim=1).permute(1, 2, 0).numpy()).save(path, quality=80)


def main() -> int:
    """Returns the exit status: 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=64)
    parser.add_argument("--steps", type=int, default=tiny_t2v.STEPS)
    parser.add_argument("--guidance", type=float, default=tiny_t2v.GUIDANCE)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result, clips = evaluate(args)
    if args.sheet:
        save_sheet(clips, args.sheet)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
