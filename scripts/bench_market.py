"""What the market costs, and what a second provider brings, on a whole job with real processes.

market_overhead: wall time of the job through a market with one one-thread provider, from the submit
to the delivered video and settlement, over the same plan run in one process with one thread, both
with models loaded. speedup_2: the same job's time with one provider over its time with two.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import median

from reelmesh.node.cli.control import ControlClient, Order
from reelmesh.node.devnet.market import Devnet
from reelmesh.node.devnet.profiles import PROVIDERS, Profile
from reelmesh.scheduler.spec import JobSpec, TextToVideo
from reelmesh.scheduler.templates import make_plan

SPEC = TextToVideo(
    prompt="a small green square moving up over a black background", seconds=8.0, seed=7
)
WARM = TextToVideo(prompt="a red ball", seconds=1.0, width=256, height=256, steps=4, seed=1)
BUDGET = 5 * 10**15
# The second core is left to chain, coordinator and the rest in every run but the last.
ONE = replace(PROVIDERS[1], name="one", threads=1, nice=0)
TWO = replace(ONE, name="two")


ROUNDS = 3


def main() -> int:
    # In turns, so that a busy minute of the machine falls on all of them.
    rounds = [(run_locally(), run_market(ONE), run_market(ONE, TWO)) for _ in range(ROUNDS)]
    local, one, two = (median(times) for times in zip(*rounds, strict=True))
    overheads = [one / local for local, one, _ in rounds]
    speedups = [one / two for _, one, two in rounds]
    figures = {
        "market_overhead": {
            "value": round(median(overheads), 3),
            "unit": "x",
            "baseline": round(local, 1),
            "ratio": round(one / local, 3),
            "target": "<= 1.25",
            "how": f"median of {_told(overheads)}; {one:.1f} s through the market with one "
            f"provider of one thread, bids held open for 2 s, over {local:.1f} s for the same plan "
            "in one process of one thread",
        },
        "speedup_2": {
            "value": round(median(speedups), 3),
            "unit": "x",
            "baseline": round(one, 1),
            "ratio": round(one / two, 3),
            "target": ">= 1.6",
            "how": f"median of {_told(speedups)}; {one:.1f} s with one provider of one thread over "
            f"{two:.1f} s with two",
        },
    }
    print(json.dumps(figures, indent=2))
    return 0


def _told(ratios: list[float]) -> str:
    return ", ".join(f"{ratio:.3f}" for ratio in ratios)


def run_locally() -> float:
    """Seconds that the plan's stages take in this process, one thread, models loaded."""
    from reelmesh.node.stages.local import run_plan_locally

    with tempfile.TemporaryDirectory() as folder:
        run_plan_locally(make_plan(WARM), Path(folder) / "warm", threads=1)
        began = time.monotonic()
        run_plan_locally(make_plan(SPEC), Path(folder) / "job", threads=1)
        took = time.monotonic() - began
    _say(f"one process: {took:.1f} s")
    return took


def run_market(*profiles: Profile) -> float:
    """Seconds from submit to delivered, with these providers, after a small job that warms up."""
    return asyncio.run(_run_market(profiles))


async def _run_market(profiles: tuple[Profile, ...]) -> float:
    with tempfile.TemporaryDirectory(prefix="rm-bench-") as folder:
        root = Path(folder)
        async with Devnet(root, profiles=profiles):
            await _job(root, WARM, "warm")
            began = time.monotonic()
            done, again = await _job(root, SPEC, "job")
            took = time.monotonic() - began
    shares = " and ".join(str(count) for count in sorted(done.values()))
    _say(f"{len(profiles)} provider(s): {took:.1f} s, subtasks {shares}, {again} tried again")
    return took


async def _job(root: Path, spec: JobSpec, name: str) -> tuple[Counter[str], int]:
    """Runs a job; tells how many subtasks each provider did, and how many attempts failed."""
    done, again = Counter[str](), 0
    async with ControlClient(root / "coordinator" / "control.sock") as client:
        order = Order(spec.canonical().decode(), BUDGET, 1200, root / "out", name)
        job_id = await client.submit(order)
        async for event in client.watch(job_id):
            if event.type in {"job_failed", "job_cancelled"}:
                raise SystemExit(f"the job failed: {event.data}")
            if event.type == "subtask_done":
                done[event.data["provider"]] += 1
            again += event.type in {"subtask_failed", "lease_expired", "provider_absent"}
            if event.type == "delivered":
                break
    return done, again


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
