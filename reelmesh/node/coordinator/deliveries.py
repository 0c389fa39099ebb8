"""Results on their way in: checked against the lease, paid by the chunk."""

from __future__ import annotations

from collections.abc import Sequence

from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.vouchers import signed_voucher
from reelmesh.node.rpc.delivery import DeliverySink, check_outputs
from reelmesh.node.rpc.errors import CoordinatorStorage, Malformed, Refused, StaleLease
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import ArtifactId, NodeAddress, SubtaskId
from reelmesh.scheduler.job.events import (
    ChunkAccepted,
    DeliveryCompleted,
    DeliveryStarted,
    SubtaskFailed,
)
from reelmesh.scheduler.job.state import Lease, OutputRef
from reelmesh.scheduler.job.working import held
from reelmesh.scheduler.stages import entry

_SENDERS_FAULT = frozenset({"wrong_bytes", "too_much", "malformed", "out_of_order"})
"""Reasons that say the sender broke the protocol, so that it is not asked again."""


def lease_of(job: JobDriver, provider: NodeAddress, name: SubtaskId, token: str) -> Lease:
    """The provider's current lease. Raises StaleLease."""
    lease = held(job.state, name, token)
    if lease is None or lease.provider != provider:
        raise StaleLease(f"the lease of {name[:40]} is over")
    return lease


async def begin_delivery(
    job: JobDriver, provider: NodeAddress, header: work_pb2.DeliverHeader
) -> DeliverySink:
    """A sink for a result that the lease allows. Raises StaleLease, Malformed or TooMuch."""
    name, token = SubtaskId(header.subtask), header.lease_token.hex()
    lease_of(job, provider, name, token)
    try:
        max_bytes, total = _check_header(job, name, header)
    except Refused as error:
        await _fail(job, name, token, error.reason, may_retry=False)
        raise
    clock_ms = job.services.clock_ms
    await job.feed(DeliveryStarted(at_ms=clock_ms(), subtask=name, token=token, total_bytes=total))
    lease_of(job, provider, name, token)

    async def raise_voucher(accepted: int, _total: int) -> work_pb2.SignedVoucher:
        lease_of(job, provider, name, token)
        event = ChunkAccepted(at_ms=clock_ms(), subtask=name, token=token, accepted_bytes=accepted)
        await job.feed(event)
        lease_of(job, provider, name, token)
        return signed_voucher(job, provider)

    async def completed(outputs: Sequence[work_pb2.ArtifactRef]) -> None:
        refs = {
            ref.name: OutputRef(sha256=ArtifactId(ref.sha256), size=ref.size, kind=ref.kind)
            for ref in outputs
        }
        await job.feed(DeliveryCompleted(at_ms=clock_ms(), subtask=name, token=token, outputs=refs))
        lease_of(job, provider, name, token)

    async def aborted(reason: str) -> None:
        if reason == CoordinatorStorage.reason:
            job.disk_failed()
        if reason in _SENDERS_FAULT:
            await _fail(job, name, token, reason, may_retry=False)

    return DeliverySink(
        job.services.store,
        header,
        max_bytes=max_bytes,
        raise_voucher=raise_voucher,
        completed=completed,
        aborted=aborted,
    )


def _check_header(
    job: JobDriver, name: SubtaskId, header: work_pb2.DeliverHeader
) -> tuple[int, int]:
    """The most bytes that may come and those announced. Raises Malformed or TooMuch."""
    subtask = job.record.plan[name]
    stage = entry(subtask.stage, subtask.stage_version)
    if {ref.name: ref.kind for ref in header.outputs} != dict(stage.outputs):
        raise Malformed(f"{stage.name} has the outputs {', '.join(stage.outputs)}", "wrong_outputs")
    max_bytes = stage.bytes_limit(subtask.parsed_params())
    return max_bytes, check_outputs(header.outputs, max_bytes)


async def _fail(
    job: JobDriver, name: SubtaskId, token: str, reason: str, *, may_retry: bool
) -> None:
    await job.feed(
        SubtaskFailed(
            at_ms=job.services.clock_ms(),
            subtask=name,
            token=token,
            reason=reason,
            may_retry=may_retry,
        )
    )
