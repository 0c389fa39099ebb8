"""Measures what each stage costs and moves at three sizes; prints one JSON object.

    python scripts/bench_size.py

A job of 12 frames at 512x512, 1920x1080 and 3840x2160 is run in this process. For the stages after
the clip: CPU seconds for each megapixel of finished video, and the bytes that travel for them (each
subtask's inputs and output).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages.local import run_plan_locally
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.templates import make_plan

PROMPT = "a big red ball moving left over a blue background"
SIZES = {"512": (512, 512), "1080p": (1920, 1080), "4k": (3840, 2160)}
CLIP = ("encode_text", "skeleton", "decode")
FRAMES = 12


def run(width: int, height: int) -> tuple[Counter[str], Counter[str], int]:
    """Stage → CPU seconds, stage → bytes in and out, and the finished video's bytes."""
    spec = {"prompt": PROMPT, "seconds": 1, "fps": FRAMES, "steps": 8, "seed": 3}
    plan = make_plan(parse_spec({**spec, "width": width, "height": height}))
    seconds: Counter[str] = Counter()
    began = time.process_time()
    ended: set[str] = set()

    def on_progress(subtask: str, fraction: float, _: str) -> None:
        nonlocal began
        if fraction == 1 and subtask not in ended:
            ended.add(subtask)
            now = time.process_time()
            seconds[plan[subtask].stage] += now - began  # type: ignore[assignment]
            began = now

    with tempfile.TemporaryDirectory() as folder:
        video = run_plan_locally(plan, Path(folder), on_progress=on_progress)
        return seconds, _moved(plan, Path(folder)), video.stat().st_size


def _moved(plan: Plan, folder: Path) -> Counter[str]:
    out = {t.id: sum(p.stat().st_size for p in (folder / t.id).iterdir()) for t in plan.subtasks}
    moved: Counter[str] = Counter()
    for task in plan.subtasks:
        moved[task.stage] += out[task.id] + sum(out[ref.subtask] for ref in task.inputs)
    return moved


def measure() -> dict[str, dict[str, object]]:
    """All figures."""
    figures: dict[str, dict[str, object]] = {}
    for name, (width, height) in SIZES.items():
        seconds, moved, video = run(width, height)
        megapixels = FRAMES * width * height / 1e6
        what = f"{FRAMES} frames at {width}x{height}"
        stages = [stage for stage in seconds if stage not in CLIP]
        for stage in stages:
            cost = seconds[stage] / megapixels
            how = f"cpu-seconds of {stage} for a megapixel of finished video, {what}"
            figures[f"size_{name}_{stage}"] = _figure(cost, "s/megapixel", how)
            how = f"bytes into and out of all {stage} subtasks, {what}"
            figures[f"size_{name}_{stage}_bytes"] = _figure(moved[stage], "B", how)
        total = sum(seconds[stage] for stage in stages) / megapixels
        figures[f"size_{name}_all"] = _figure(total, "s/megapixel", f"all of these stages, {what}")
        raw = sum(moved.values()) / (megapixels * 3e6)
        how = f"all bytes that travel, of the finished frames' raw size, {what}; video {video} B"
        figures[f"size_{name}_moved_of_raw"] = _figure(raw, "", how)
    return figures


def _figure(value: float, unit: str, how: str) -> dict[str, object]:
    return {
        "value": round(value, 5),
        "unit": unit,
        "baseline": None,
        "ratio": None,
        "target": None,
        "how": how,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
