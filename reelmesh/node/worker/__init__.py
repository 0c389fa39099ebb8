"""The worker: runs stages in an OS process of its own, one per device.

    async with Worker("auto", threads=2, scratch=folder) as worker:
        result = await worker.run(RunRequest("upscale", 1, params_json, {"frames": path}, 60.0))

Imports no torch: that lives in the process.
"""

from __future__ import annotations

from reelmesh.node.stages import StageFailed

from .device import Device
from .errors import (
    RunTimedOut,
    WorkerCrashed,
    WorkerError,
    WorkerOutOfMemory,
    WorkerStartFailed,
)
from .rates import MeasuredRate, RateBook, measure_rates
from .worker import RunRequest, RunResult, Worker, detect_devices

__all__ = [
    "Device",
    "MeasuredRate",
    "RateBook",
    "RunRequest",
    "RunResult",
    "RunTimedOut",
    "StageFailed",
    "Worker",
    "WorkerCrashed",
    "WorkerError",
    "WorkerOutOfMemory",
    "WorkerStartFailed",
    "detect_devices",
    "measure_rates",
]
