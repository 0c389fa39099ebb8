"""Progress reports: they renew leases, and a watcher sees them about once a second."""

from __future__ import annotations

import math

from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.services import Services
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import NodeAddress, SubtaskId
from reelmesh.scheduler.job.events import ProgressReceived
from reelmesh.scheduler.job.state import Phase
from reelmesh.scheduler.job.working import held

_SHOWN_EVERY_MS = 1_000
_RENEWED_EVERY = 3
"""A renewal is journaled once a third of the lease's time is used up, not at every report."""


class ProgressDesk:
    """Answers progress reports."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._shown_ms: dict[str, int] = {}

    async def take(
        self, job: JobDriver, provider: NodeAddress, report: work_pb2.ProgressReport
    ) -> work_pb2.ProgressReply:
        """Renew the lease that the report names, or say why the run must stop."""
        name, token = SubtaskId(report.subtask), report.lease_token.hex()
        lease = held(job.state, name, token)
        if lease is None or lease.provider != provider:
            over = job.state.phase is not Phase.WORKING
            return work_pb2.ProgressReply(
                cancel=True, reason="work_is_over" if over else "stale_lease"
            )
        now_ms, lease_ms = self._services.clock_ms(), job.state.limits.lease_ms
        if lease.renewed_until_ms - now_ms < lease_ms - lease_ms // _RENEWED_EVERY:
            await job.feed(ProgressReceived(at_ms=now_ms, subtask=name, token=token))
        self._show(job, provider, report, now_ms)
        return work_pb2.ProgressReply(lease_ms=lease_ms)

    def _show(
        self, job: JobDriver, provider: NodeAddress, report: work_pb2.ProgressReport, now_ms: int
    ) -> None:
        token = report.lease_token.hex()
        if now_ms - self._shown_ms.get(token, 0) < _SHOWN_EVERY_MS:
            return
        if len(self._shown_ms) > 4096:
            self._shown_ms.clear()
        self._shown_ms[token] = now_ms
        fraction = report.fraction if math.isfinite(report.fraction) else 0.0
        job.note(
            "progress",
            {
                "subtask": report.subtask,
                "provider": provider,
                "fraction": round(min(1.0, max(0.0, fraction)), 3),
                "note": "".join(c for c in report.note[:80] if c.isprintable()),
            },
        )
