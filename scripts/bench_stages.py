"""Measures every stage on one thread of this machine; prints one JSON object.

    python scripts/bench_stages.py [--device cpu] [--threads 1]

The figures are what a provider measures at its first start, and what its bids rest on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from reelmesh.node.worker import Worker, measure_rates
from reelmesh.scheduler.stages import CATALOGUE

FRAMES, SIDE = 96, 512
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
    megapixels = FRAMES * SIDE * SIDE / 1e6
    figures["upscale_4s_video"] = _figure(
        rates["upscale"].seconds_per_unit * megapixels, "s", command, UPSCALE_LIMIT_S
    )
    return figures


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
