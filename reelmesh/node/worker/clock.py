"""Timing work as if it had its core to itself."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDULER = Path("/proc/thread-self/schedstat")


class WorkClock:
    """Seconds since it was made, less those in which this thread stood ready but had no core.

    So a rate measured while other processes are busy, as when several nodes start at once,
    is the machine's own. Where the kernel keeps no such account (proc(5), schedstat) it is
    plain time.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._waited = _waited_s()

    def seconds(self) -> float:
        """Seconds of work so far; call it on the thread that made this."""
        wall = time.monotonic() - self._began
        return max(wall - (_waited_s() - self._waited), 1e-6)


def _waited_s() -> float:
    """Seconds that this thread has waited for a core in its whole life."""
    try:
        return int(_SCHEDULER.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
