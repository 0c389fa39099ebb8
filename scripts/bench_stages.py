"""Measures every stage on one thread of this machine; prints one JSON object.

    python scripts/bench_stages.py [--device cpu] [--threads 1]

The figures are what a provider measures at its first start, and what its bids rest on. Beside them,
of jobs at 512x512 that are run here whole: each stage's seconds for a megapixel of finished video,
and the bytes that go into and out of it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from reelmesh.node.stages.local import run_plan_locally
from reelmesh.node.worker import Worker, measure_rates
from reelmesh.scheduler.spec import JobSpec, parse_spec
from reelmesh.scheduler.stages import CATALOGUE
from reelmesh.scheduler.templates import make_plan

FRAMES, SIDE = 96, 512
#: Length of the jobs that are run whole.
SECONDS = 1.0
#: Seconds that enlarging a whole demo video may take on one thread.
UPSCALE_LIMIT_S = 70.0


async def measure(device: str, threads: int, folder: Path) -> dict[str, dict[str, object]]:
    """Every stage's seconds per unit, and what follows for a 4 s video."""
    command = f"scripts/bench_stages.py --device {device} --threads {threads}"
    began = time.monotonic()
    async with Worker(device, threads, folder) as worker:
        up = time.monotonic() - began
        rates = await measure_rates(worker, CATALOGUE)
    figures: dict[str, dict[str, object]] = {
        "worker_start_s": _figure(up, "s", command),
        "rates_measured_s": _figure(time.monotonic() - began - up, "s", command, 20.0),
    }
    for name, rate in rates.items():
        unit = f"s/{CATALOGUE[name].unit}"
        figures[f"stage_{name}"] = _figure(rate.seconds_per_unit, unit, command)
        if rate.watts is not None:
            joules = rate.watts * rate.seconds_per_unit
            figures[f"energy_{name}"] = _figure(joules, unit.replace("s/", "J/"), command)
    for kind, spec, sources in jobs(folder):
        figures |= job_figures(kind, spec, sources, folder / kind)
    megapixels = FRAMES * SIDE * SIDE / 1e6
    figures["upscale_4s_video"] = _figure(
        rates["upscale"].seconds_per_unit * megapixels, "s", command, UPSCALE_LIMIT_S
    )
    return figures


def jobs(folder: Path) -> Iterator[tuple[str, JobSpec, dict[str, Path]]]:
    """Kinds of job that stand for the stages: (kind, spec, sources) of a short video."""
    picture = np.full((SIDE, SIDE, 3), (90, 30, 20), np.uint8)
    cv2.circle(picture, (SIDE // 2, SIDE // 2), SIDE // 5, (40, 200, 240), -1, cv2.LINE_AA)
    file = folder / "picture.png"
    file.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    base = {"prompt": "a yellow ball moving left", "seconds": SECONDS, "width": SIDE}
    base |= {"height": SIDE, "seed": 1}
    yield "text_to_video", parse_spec(base), {}
    image = {"sha256": digest, "size": file.stat().st_size}
    spec = parse_spec({**base, "kind": "image_to_video", "image": image})
    yield "image_to_video", spec, {digest: file}


def job_figures(
    kind: str, spec: JobSpec, sources: dict[str, Path], folder: Path
) -> dict[str, dict[str, object]]:
    """By stage: seconds of one thread, and bytes, for a megapixel of finished video."""
    plan = make_plan(spec)
    stage_of = {task.id: task.stage for task in plan.subtasks}
    seconds: Counter[str] = Counter()
    last = [time.process_time()]

    def on_progress(subtask: str, _fraction: float, _note: str) -> None:
        now = time.process_time()
        seconds[stage_of[subtask]] += now - last[0]
        last[0] = now

    run_plan_locally(plan, folder, on_progress=on_progress, sources=sources)
    made = {task.id: _size(folder / task.id) for task in plan.subtasks}
    moved: Counter[str] = Counter()
    for task in plan.subtasks:
        taken = sum(made[ref.subtask] for ref in task.inputs) + sum(s.size for s in task.sources)
        moved[task.stage] += taken + made[task.id]
    megapixels = spec.frames * spec.width * spec.height / 1e6
    how = f"{kind}, {SECONDS:g} s at {SIDE}x{SIDE}, run whole on one thread, models loaded in it"
    figures = {}
    for stage in seconds:
        per_mp = seconds[stage] / megapixels
        figures[f"{kind}_{stage}_s_per_mp"] = _figure(per_mp, "s/megapixel", how)
        kb = moved[stage] / megapixels / 1e3
        figures[f"{kind}_{stage}_moved_per_mp"] = _figure(kb, "kB/megapixel", f"{how}; in and out")
    return figures


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _figure(value: float, unit: str, how: str, target: float | None = None) -> dict[str, object]:
    return {
        "value": round(value, 5),
        "unit": unit,
        "baseline": target,
        "ratio": round(value / target, 3) if target else None,
        "target": f"<= {target:g}" if target else None,
        "how": how,
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments.device, arguments.threads, Path(folder)))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
