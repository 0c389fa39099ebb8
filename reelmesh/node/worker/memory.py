"""How much memory a run takes, and a limit on it, from inside the worker process."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_TRIED = re.compile(r"tried to allocate (\d+(?:\.\d+)?) ?(bytes|MiB|GiB)", re.IGNORECASE)
_UNITS = {"bytes": 2**-20, "mib": 1.0, "gib": 1024.0}
_SAYINGS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "insufficient memory",
    "bad_alloc",
    "cannot allocate memory",
)


def status_mb(field: str) -> int:
    """A size from the kernel's account of this process (VmRSS, VmHWM, VmData), in MiB."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) >> 10
    except OSError:
        pass
    # Where there is no /proc: the most this process ever had.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def reset_peak() -> None:
    """Lets `peak_mb` count from now on."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return  # then the peak is the process's, not the run's: too much, never too little


def peak_mb() -> int:
    """The most resident memory since `reset_peak`, in MiB."""
    return status_mb("VmHWM")


def limit_growth(limit_mb: int) -> None:
    """Makes allocations fail that would take this process beyond `limit_mb` of memory.

    The kernel limits mapped, not resident, memory, and much is mapped and never touched:
    so what may still be mapped is the limit less what is resident now.
    """
    room = max(limit_mb - status_mb("VmRSS"), 16)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, ((status_mb("VmData") + room) << 20, hard))


@contextmanager
def held_to(more_mb: int) -> Iterator[None]:
    """Within the block this process may take `more_mb` more than it has now, and no more.

    A stricter limit that holds already stays. Other limits come back at the end.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = (status_mb("VmData") + more_mb) << 20
    if soft != resource.RLIM_INFINITY:
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def ran_out(error: BaseException) -> bool:
    """True where an exception means that memory was not to be had."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, Exception) and any(saying in text for saying in _SAYINGS)


def needed_mb(error: BaseException, used_mb: int) -> int:
    """What the run would have needed at least: what it had, and what it asked for last."""
    found = _TRIED.search(str(error))
    more = float(found[1]) * _UNITS[found[2].lower()] if found else 1.0
    return used_mb + max(1, round(more))


def device_peak_mb(torch: Any, device: Any) -> int:
    """The run's peak on its own device: CUDA's count there, resident memory on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)) >> 20
    return peak_mb()
