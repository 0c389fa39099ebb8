"""Watts of a device at work, where the machine tells them.

CPU: the energy counters of Intel and AMD packages (RAPL) below /sys/class/powercap; many systems
let only root read them, and virtual machines have none. CUDA: what `nvidia-smi` says of the power
draw, several times a second. Both count all that runs on the device, not this process alone.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .device import Device

POWERCAP = Path("/sys/class/powercap")
_SMI_S, _SMI_EVERY_S = 5.0, 0.2


@dataclass
class Drawn:
    """What was drawn in a block: None until its end, and where nothing can be read."""

    watts: float | None = None


@contextlib.contextmanager
def metered(device: Device, powercap: Path = POWERCAP) -> Iterator[Drawn]:
    """Measure a device's mean watts over the block."""
    drawn = Drawn()
    with _gpu(device, drawn) if device.kind == "cuda" else _packages(powercap, drawn):
        yield drawn


@contextlib.contextmanager
def _packages(powercap: Path, drawn: Drawn) -> Iterator[None]:
    before, began = _package_joules(powercap), time.monotonic()
    yield
    after, took = _package_joules(powercap), time.monotonic() - began
    if before and before.keys() == after.keys() and took > 0:
        joules = sum((after[k][0] - before[k][0]) % after[k][1] for k in before)
        drawn.watts = joules / took or None


@contextlib.contextmanager
def _gpu(device: Device, drawn: Drawn) -> Iterator[None]:
    seen: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while (watts := _gpu_watts(device.index)) is not None:
            seen.append(watts)
            if over.wait(_SMI_EVERY_S):
                return

    thread = threading.Thread(target=watch, name="power", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_SMI_S)
    drawn.watts = statistics.fmean(seen) if seen else None


def _package_joules(powercap: Path) -> dict[str, tuple[float, float]]:
    """Package → (joules counted so far, joules at which the counter begins again)."""
    try:
        # A package is intel-rapl:N; what lies within it has a second colon.
        zones = [z for z in powercap.glob("intel-rapl:*") if z.name.count(":") == 1]
        return {
            zone.name: (_joules(zone / "energy_uj"), _joules(zone / "max_energy_range_uj"))
            for zone in zones
        }
    except (OSError, ValueError):
        return {}


def _joules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def _gpu_watts(index: int) -> float | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--id={index}", "--query-gpu=power.draw"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_SMI_S,
            check=True,
        )
        return float(done.stdout.strip())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
