"""Learning-rate schedules that fit a run into a given time."""

from __future__ import annotations

import time


class Clock:
    """A time budget: `progress` runs 0..1 over `seconds`, or over `steps` if given."""

    def __init__(self, seconds: float, steps: int | None = None) -> None:
        self.seconds, self.steps, self.done = seconds, steps, 0
        self.began = time.monotonic()

    def tick(self) -> float:
        """Counts one step and returns progress before it, at most 1."""
        self.done += 1
        if self.steps is not None:
            return min(1.0, (self.done - 1) / self.steps)
        return min(1.0, (time.monotonic() - self.began) / self.seconds)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def rate(self, progress: float, warm: int = 100, flat: float = 0.5) -> float:
        """Warm-up, flat, then linear to zero."""
        return min(1.0, self.done / warm) * min(1.0, (1 - progress) / (1 - flat))
