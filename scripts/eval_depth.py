"""Scores each quality on simple prompts: python scripts/eval_depth.py [--json] [--captions 64]

Held-out captions of one thing that moves are planned at quality fixed, auto and draft, and their
denoise loops are run as those plans say, from the same seeds, on one thread. Printed for each: the
thread's seconds in the loop, and what the probe reads, by attribute. The same for image→video from
drawn first frames, of which there are fewer. Then default jobs (4 s at 512x512) of the first
captions are run whole: seconds in each stage, what the probe reads in the finished videos, and how
far what auto enlarges is from dense work. Exits 1 when auto takes more than 1/1.5 of fixed's
compute, in the loop or in whole jobs, or reads worse than fixed by more than one clip in any
attribute.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages import tiny_t2v
from reelmesh.node.stages.tiny_t2v.world import all_scenes
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.stages.skeleton import SkeletonParams
from scripts.train_tiny_t2v.captions import canonical
from scripts.train_tiny_t2v.probe import Probe
from scripts.train_tiny_t2v.render import random_offsets, render, scene_indices
from scripts.train_tiny_t2v.scores import score
from scripts.whole_jobs import against_truth, plan_for, run_jobs

QUALITIES = ("fixed", "auto", "draft")
LEAST_RATIO = 1.5
JOB = "cpu_s_per_job"
SEED = 2026


def captions(count: int) -> tuple[list[str], Tensor]:
    """Captions that training never saw, and their scenes as table positions [count, 5]."""
    held = [scene for scene in all_scenes() if scene.held_out()]
    scenes = random.Random(SEED).sample(held, count)
    return [canonical(scene) for scene in scenes], scene_indices(scenes)


def denoise(
    model: Any, prompt: str, plan: Plan, first: Tensor | None = None
) -> tuple[Tensor, float]:
    """A plan's denoise loop: (frames uint8 [16, 3, 64, 64], the thread's seconds in the loop).

    first: the picture that the clip begins with, uint8 [64, 64, 3].
    """
    cond = model.condition(tiny_t2v.text_features(prompt, model.device))
    z, seconds = None, 0.0
    for task in plan.subtasks:
        if task.stage != "skeleton":
            continue
        p = task.parsed_params()
        assert isinstance(p, SkeletonParams)
        z = model.init_latent(p.seed) if z is None else z
        began = time.process_time()
        z = model.denoise(z, cond, p.start, p.stop, p.steps, p.guidance, p.guided, first)
        seconds += time.process_time() - began
    return model.decode(z).permute(0, 3, 1, 2), seconds


def compare(
    count: int, qualities: Sequence[str] = QUALITIES, *, pictures: bool = False
) -> dict[str, dict[str, Any]]:
    """For each quality: seconds of the loop a clip, and the shares that the probe reads right.

    pictures: each clip begins with the first frame of a drawn one.
    """
    torch.set_num_threads(1)
    model, probe = tiny_t2v.load("cpu"), Probe.shipped()
    prompts, index = captions(count)
    firsts: list[Tensor | None] = [None] * count
    if pictures:
        offsets = random_offsets(index, torch.Generator().manual_seed(SEED))
        firsts = [clip[0].permute(1, 2, 0) for clip in render(index, offsets)[0]]
    clips: dict[str, list[Tensor]] = {quality: [] for quality in qualities}
    seconds: Counter[str] = Counter()
    for i, prompt in enumerate(prompts):  # in turns: a machine's mood is shared by all
        for quality in qualities:
            clip, took = denoise(model, prompt, plan_for(prompt, i, quality), firsts[i])
            clips[quality].append(clip)
            seconds[quality] += took
    return {
        quality: {
            "cpu_s_per_clip": round(seconds[quality] / count, 4),
            "scores": score(probe.read(torch.stack(clips[quality])), index),
        }
        for quality in qualities
    }


def judge(found: dict[str, dict[str, Any]], count: int, of: str = "cpu_s_per_clip") -> list[str]:
    """What auto misses."""
    fixed, auto = found["fixed"], found["auto"]
    missed = [k for k, v in fixed["scores"].items() if auto["scores"][k] < v - 1.01 / count]
    if ratio(found, of=of) < LEAST_RATIO:
        missed.append("compute")
    return missed


def ratio(
    found: dict[str, dict[str, Any]], quality: str = "auto", of: str = "cpu_s_per_clip"
) -> float:
    """How many times less compute is taken than at fixed depth."""
    return round(found["fixed"][of] / found[quality][of], 3)


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print a table: a row for each quality."""
    names = list(found["fixed"]["scores"])
    print(f"{'':<8}{'cpu-s':>8}{'ratio':>7}" + "".join(f"{name:>12}" for name in names))
    for quality, row in found.items():
        scores = "".join(f"{row['scores'][name]:>12.3f}" for name in names)
        print(f"{quality:<8}{row['cpu_s_per_clip']:>8.3f}{ratio(found, quality):>7.2f}{scores}")


def show_jobs(jobs: dict[str, dict[str, Any]]) -> None:
    """Print what whole jobs cost, stage by stage, and how alike the videos are."""
    for quality, row in jobs.items():
        stages = ", ".join(f"{k} {v:.2f}" for k, v in row["cpu_s"].items())
        times = ratio(jobs, quality, JOB)
        print(f"{quality:<8}{row[JOB]:>8.1f} cpu-s a job, {times:.2f}x less: {stages}")
        print(f"        scores of the videos: {row['scores']}")
    print(f"enlarged by auto, against dense work: {jobs['auto']['against_dense']}")


def main() -> int:
    """Returns the exit status: 0 where auto is as good as fixed, and cheaper."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=64)
    parser.add_argument("--image", type=int, default=16, help="captions for image→video")
    parser.add_argument("--jobs", type=int, default=6, help="captions for whole jobs")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    count, fewer = asked.captions, min(asked.captions, asked.image)
    found, whole = compare(count), min(count, asked.jobs)
    prompts, index = captions(count)
    jobs, truth = run_jobs(prompts[:whole], index[:whole], QUALITIES), against_truth()
    begun = compare(fewer, ("fixed", "auto"), pictures=True)
    missed = judge(found, count) + [f"image_{name}" for name in judge(begun, fewer)]
    missed += [f"job_{name}" for name in judge(jobs, whole, JOB)]
    told = {"captions": count, "qualities": found, "image_captions": fewer, "image_to_video": begun}
    if asked.json:
        told |= {"jobs": whole, "whole_jobs": jobs, "against_truth": truth}
        print(json.dumps({**told, "missed": missed}, indent=2))
    else:
        show(found)
        print(f"image→video, {fewer} captions")
        show(begun)
        print(f"whole jobs, {whole} captions")
        show_jobs(jobs)
        print(f"drawn clips at 512x512, [PSNR, SSIM, sharpness] against the truth: {truth}")
        print("missed: " + (", ".join(missed) or "nothing"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
