"""Scores the shipped model: python scripts/eval_tiny_t2v.py [--json]

64 captions of combinations that training never saw are generated on one thread and read
by the probe, beside clips drawn for the same captions. Then hand-written wordings, and
image to video from each drawn clip's first frame. Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages import tiny_t2v
from reelmesh.node.stages.tiny_t2v.world import all_scenes
from scripts.train_tiny_t2v.captions import canonical
from scripts.train_tiny_t2v.probe import Probe
from scripts.train_tiny_t2v.prompts import FREE
from scripts.train_tiny_t2v.render import random_offsets, render, scene_indices
from scripts.train_tiny_t2v.scores import score, score_partial

#: Least share of what the probe reads on ground truth.
TARGETS = {
    "background": 0.95,
    "colour": 0.95,
    "shape": 0.80,
    "motion": 0.95,
    "direction": 0.95,
    "one_object": 0.95,
}
FREE_TARGET = 0.85


def generate(
    model: Any, prompts: list[str], steps: int, guidance: float, firsts: Tensor | None = None
) -> Tensor:
    """One clip per prompt, seeds 0, 1, 2…: uint8 [N, 16, 3, 64, 64]."""
    clips = []
    for i, prompt in enumerate(prompts):
        cond = model.condition(tiny_t2v.text_features(prompt, model.device))
        first = None if firsts is None else firsts[i].permute(1, 2, 0)
        z = model.denoise(model.init_latent(i), cond, 0, steps, steps, guidance, first_frame=first)
        clips.append(model.decode(z).permute(0, 3, 1, 2))
    return torch.stack(clips)


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the three lists; see the module's text."""
    model, probe = tiny_t2v.load(args.device), Probe.shipped()
    held = [s for s in all_scenes() if s.held_out()]
    scenes = random.Random(args.seed).sample(held, args.captions)
    index = scene_indices(scenes)
    generator = torch.Generator().manual_seed(args.seed)
    truth, _ = render(index, random_offsets(index, generator))
    prompts = [canonical(s) for s in scenes]
    began = time.monotonic()
    made = generate(model, prompts, args.steps, args.guidance)
    seconds = (time.monotonic() - began) / len(prompts)
    result: dict[str, Any] = {
        "model": model.model_hash,
        "steps": args.steps,
        "guidance": args.guidance,
        "captions": len(prompts),
        "seconds_per_clip": round(seconds, 2),
        "truth": score(probe.read(truth), index),
        "generated": score(probe.read(made), index),
    }
    result["ratio"] = {
        k: round(v / max(result["truth"][k], 1e-9), 4) for k, v in result["generated"].items()
    }
    started = generate(model, prompts[: args.image], args.steps, args.guidance, truth[:, 0])
    read = probe.read(started)
    result["image_to_video"] = score(read, index[: args.image])
    gap = started[:, 0].float() - truth[: args.image, 0].float()
    result["image_to_video"]["first_frame_mean_error"] = round(float(gap.abs().mean()) / 255, 4)
    free = generate(model, [p for p, _ in FREE], args.steps, args.guidance)
    result["free_wordings"] = score_partial(probe.read(free), [want for _, want in FREE])
    result["missed"] = [k for k, least in TARGETS.items() if result["ratio"][k] < least]
    if result["free_wordings"]["all"] < FREE_TARGET:
        result["missed"].append("free_wordings")
    return result


def show(result: dict[str, Any]) -> None:
    """Prints the result as a table."""
    print(f"model {result['model'][:16]}…  {result['captions']} held-out captions, "
          f"{result['steps']} steps, guidance {result['guidance']}, "
          f"{result['seconds_per_clip']} s a clip")  # fmt: skip
    print(f"{'':<12}{'truth':>8}{'made':>8}{'ratio':>8}{'target':>8}{'image→video':>13}")
    for name, value in result["generated"].items():
        target = f"{TARGETS[name]:.2f}" if name in TARGETS else ""
        print(f"{name:<12}{result['truth'][name]:>8.3f}{value:>8.3f}"
              f"{result['ratio'][name]:>8.3f}{target:>8}"
              f"{result['image_to_video'][name]:>13.3f}")  # fmt: skip
    print(
        f"image→video: first frame differs by {result['image_to_video']['first_frame_mean_error']}"
    )
    free = result["free_wordings"]
    print("hand-written wordings: " + ", ".join(f"{k} {v:.3f}" for k, v in free.items()))
    print("missed: " + (", ".join(result["missed"]) or "nothing"))


def main() -> int:
    """Returns the exit status: 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=64)
    parser.add_argument("--image", type=int, default=32, help="captions for image to video")
    parser.add_argument("--steps", type=int, default=tiny_t2v.STEPS)
    parser.add_argument("--guidance", type=float, default=tiny_t2v.GUIDANCE)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.image = min(args.image, args.captions)
    result = evaluate(args)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
