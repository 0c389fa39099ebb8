"""What a stage is, and what it is given to run with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from reelmesh.errors import ReelmeshError

if TYPE_CHECKING:
    import torch

#: `model_hash` of a stage that has no weights.
NO_MODEL = bytes(32)


class StageFailed(ReelmeshError):
    """A stage cannot give its result.

    Args:
        reason: a code that crosses the wire: "bad_input" (an artifact is not what the
            parameters say), "bad_params", "unknown_stage", "not_installed" (a package or
            weights file is missing here), "disk_full" or "internal".
        message: one plain line.
        hint: the next step.
    """

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.reason = reason


class StageCancelled(ReelmeshError):
    """The run was told to stop."""


def bad_input(message: str) -> StageFailed:
    """The error for an artifact that is damaged or does not match the parameters."""
    return StageFailed("bad_input", message, "fetch the input again or make it anew")


class StageContext:
    """One run's surroundings: where it computes and writes, and how it reports.

    Args:
        device: where tensors live.
        workdir: an existing folder for outputs; the caller owns and removes it.
        on_progress: called with (fraction in 0..1, note), at most ten times a second.
        cancelled: asked between pieces of work; true ends the run with StageCancelled.
    """

    def __init__(
        self,
        device: torch.device,
        workdir: Path,
        on_progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.device = device
        self.workdir = workdir
        self.trajectory: list[bytes] = []
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._told_at = 0.0

    def progress(self, fraction: float, note: str = "") -> None:
        """Reports how far the run is, and ends it where it was cancelled.

        Raises:
            StageCancelled.
        """
        self.check()
        now = time.monotonic()
        if self._on_progress is not None and (fraction >= 1 or now - self._told_at >= 0.1):
            self._told_at = now
            self._on_progress(min(max(fraction, 0.0), 1.0), note[:80])

    def cancelled(self) -> bool:
        """True from the moment the run was told to stop."""
        return self._cancelled is not None and self._cancelled()

    def check(self) -> None:
        """Raises StageCancelled where the run was told to stop."""
        if self.cancelled():
            raise StageCancelled("the run was cancelled")

    def step(self, data: bytes | memoryview) -> None:
        """Adds the sha256 of an intermediate result to the trajectory that is attested to."""
        self.trajectory.append(hashlib.sha256(data).digest())


class Stage(Protocol):
    """A kind of work. One instance lives in a worker and keeps its model between runs."""

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        ...

    @property
    def version(self) -> int:
        """Version in the catalogue; changes whenever the output's bits may."""
        ...

    @property
    def model_hash(self) -> bytes:
        """32 bytes naming weights and arithmetic; NO_MODEL where there are none. After load."""
        ...

    def load(self, device: torch.device) -> None:
        """Makes the model resident on `device`; does nothing when it already is.

        Raises:
            ReelmeshError: weights or packages are missing or damaged.
        """
        ...

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Computes the outputs, each a new file in `ctx.workdir`.

        Args:
            params: the stage's validated parameters from the catalogue.
            inputs: by name; the bytes were checked against their hash, nothing else was.

        Raises:
            StageFailed: an input is unusable. StageCancelled.
        """
        ...


class ModelFree:
    """The half of Stage that stages without weights share."""

    model_hash = NO_MODEL

    def load(self, device: torch.device) -> None:
        """Nothing to load."""


def model_id(*parts: bytes | str) -> bytes:
    """A model's hash from its weights' hash and whatever else decides the result's bits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()


@contextmanager
def one_thread_opencv() -> Iterator[None]:
    """OpenCV on one thread, so that sums are always done in the same order."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
