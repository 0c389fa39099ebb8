"""What can go wrong with a run. `StageFailed` (the stage itself says so) is in node.stages."""

from __future__ import annotations

from reelmesh.errors import ReelmeshError


class WorkerError(ReelmeshError):
    """The worker process could not finish a run. `reason` is the code for the wire."""

    reason = "internal"


class WorkerCrashed(WorkerError):
    """The worker process ended on its own. The next run starts a new one."""

    reason = "crashed"


class WorkerStartFailed(WorkerError):
    """The worker process did not come up."""

    reason = "not_installed"


class RunTimedOut(WorkerError):
    """The run took longer than its limit and was stopped."""

    reason = "timed_out"


class WorkerOutOfMemory(WorkerError):
    """The stage needed more memory than there is, or than the worker may use.

    Args:
        needed_mb: what the run had taken when it failed, with the request that failed, in
            MiB: the true need is at least this. limit_mb: the worker's limit, if it has one.
    """

    reason = "out_of_memory"

    def __init__(self, stage: str, needed_mb: int, limit_mb: int | None) -> None:
        of = f", and this worker may use {limit_mb} MiB" if limit_mb else ""
        super().__init__(
            f"stage {stage} ran out of memory: it needed at least {needed_mb} MiB{of}",
            "raise memory_limit_mb, or do not offer this stage",
        )
        self.stage = stage
        self.needed_mb = needed_mb
        self.limit_mb = limit_mb
