"""Announcing a call until it closes, and clearing the bids that came."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import structlog

from reelmesh.errors import PeerError
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.proto import market_pb2
from reelmesh.scheduler.auction import Clearing, clear
from reelmesh.scheduler.ids import NodeAddress, SubtaskId
from reelmesh.scheduler.job import effects as fx
from reelmesh.scheduler.job.choosing import excluded, struck_out
from reelmesh.scheduler.job.closing import work_ends
from reelmesh.scheduler.job.events import Cleared
from reelmesh.scheduler.job.state import JobState, Lost, Offer, Placement, SubtaskStatus, Tender
from reelmesh.scheduler.models import offering
from reelmesh.scheduler.offers import ProviderOffer, StageOffer

log = structlog.stdlib.get_logger(__name__)

_REPEAT_S = (0.4, 2.0)


def call_message(job: JobDriver, issued_ms: int) -> market_pb2.Call | None:
    """The call of the tender that is open now; None where there is none."""
    tender = job.state.tender
    if tender is None:
        return None
    record, wanted = job.record, set(tender.subtasks)
    return market_pb2.Call(
        job_id=record.job_bytes,
        chain_id=record.chain_id,
        market=bytes.fromhex(record.market[2:]),
        round=tender.round,
        plan_hash=bytes.fromhex(record.plan.plan_hash()),
        subtasks=[
            market_pb2.SubtaskOffer(
                id=subtask.id,
                stage=subtask.stage,
                stage_version=subtask.stage_version,
                model=subtask.model,
                units=subtask.units,
                memory_mb=subtask.memory_mb,
                bytes_in=subtask.bytes_in,
                bytes_out=subtask.bytes_out,
                reserve=str(tender.reserves[subtask.id]),
            )
            for subtask in record.plan.subtasks
            if subtask.id in wanted
        ],
        coordinator_peer=job.services.host.addrs[0],
        issued_at_ms=issued_ms,
        closes_at_ms=tender.closes_ms,
        deadline_ms=job.state.deadline_ms,
    )


async def publish_call(job: JobDriver, effect: fx.PublishCall) -> None:
    """Gossip the call, the same one again and again, until it closes."""
    services = job.services
    call = call_message(job, services.clock_ms())
    if call is None:
        return
    wait_s = _REPEAT_S[0]
    try:
        while services.clock_ms() < effect.closes_ms:
            try:
                await services.network.publish_call(call)
            except PeerError as error:
                log.info("call_not_published", job=job.record.job_id[:10], why=str(error))
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _REPEAT_S[1])
    finally:
        services.network.withdraw_call(job.record.job_bytes, effect.round)


async def clear_bids(job: JobDriver, effect: fx.ClearBids) -> None:
    """Run the auction beside the event loop, and feed its result."""
    state = job.state
    tender = state.tender
    if tender is None or tender.round != effect.round:
        return
    now_ms = job.services.clock_ms()
    clearing = await asyncio.to_thread(_clear, job, state, tender, now_ms)
    await job.feed(
        Cleared(
            at_ms=job.services.clock_ms(),
            round=tender.round,
            placements=tuple(
                Placement(subtask=name, provider=won.provider, price=won.price)
                for name, won in clearing.assignments.items()
            ),
            losses=tuple(
                Lost(
                    subtask=loss.subtask,
                    provider=loss.provider,
                    reason=loss.reason.value,
                    winning_price=loss.winning_price or 0,
                )
                for loss in clearing.losses
            ),
            unplaced={name: reason.value for name, reason in clearing.unplaced.items()},
        )
    )


def _clear(job: JobDriver, state: JobState, tender: Tender, now_ms: int) -> Clearing:
    wanted = set(tender.subtasks)
    versions = {task.offering: task.stage_version for task in job.record.plan.subtasks}
    hashes = agreed_hashes(state, tender.bidders)
    return clear(
        [subtask for subtask in job.record.plan.subtasks if subtask.id in wanted],
        [_offer(state.offers[provider], versions, hashes) for provider in sorted(tender.bidders)],
        tender.reserves,
        time_value_wei_per_s=job.services.config.time_value_wei_per_s,
        deadline_s=max(0.0, (work_ends(state) - now_ms) / 1000),
        exclude=_excluded(state, tender),
        held_by={
            name: subtask.done.provider
            for name, subtask in state.subtasks.items()
            if subtask.done is not None
        },
        ready_s=_ready_s(state, now_ms),
    )


def agreed_hashes(state: JobState, bidders: Iterable[NodeAddress]) -> dict[str, str]:
    """For each production model the hash of the files that this job is made with.

    What was attested first decides; else what most bidders have. So one job is never made with two
    sets of weights, and a bidder with a copy of its own making does not win beside the others.
    """
    counts: dict[str, Counter[str]] = {}
    for provider in bidders:
        offered = {(line.model, line.model_hash) for line in state.offers[provider].stages}
        for model, digest in offered:
            if model:
                counts.setdefault(model, Counter())[digest] += 1
    # Of those that equally many have, the least: the same whatever order the bids came in.
    most = {
        model: min(found, key=lambda digest, found=found: (-found[digest], digest))  # type: ignore[misc]
        for model, found in counts.items()
    }
    made = {
        subtask.item.model: subtask.done.attestation.model_hash.removeprefix("0x")
        for subtask in state.subtasks.values()
        if subtask.done is not None and subtask.item.model
    }
    return most | made


def _offer(offer: Offer, versions: dict[str, int], hashes: dict[str, str]) -> ProviderOffer:
    stages = {
        offering(line.stage, line.model): StageOffer(
            price_per_unit=line.price_per_unit,
            seconds_per_unit=line.seconds_per_unit,
            memory_mb=line.memory_mb,
            resident=line.resident,
        )
        for line in offer.stages
        if versions.get(offering(line.stage, line.model)) == line.stage_version
        and hashes.get(line.model, "") == line.model_hash
    }
    return ProviderOffer(
        provider=offer.provider,
        stages=stages,
        slots=offer.slots,
        memory_mb=offer.memory_mb,
        queue_s=offer.queue_s,
        uplink_mbps=offer.uplink_mbps,
    )


def _excluded(state: JobState, tender: Tender) -> dict[SubtaskId, set[NodeAddress]]:
    out = {p for p in tender.bidders if p in state.providers and struck_out(state, p)}
    return {
        name: out | {p for p in tender.bidders if excluded(state.subtasks[name], p)}
        for name in tender.subtasks
    }


def _ready_s(state: JobState, now_ms: int) -> dict[SubtaskId, float]:
    """When what is leased now should be there, in seconds from now."""
    return {
        name: max(0, subtask.lease.granted_ms + subtask.lease.expected_ms - now_ms) / 1000
        for name, subtask in state.subtasks.items()
        if subtask.status is SubtaskStatus.LEASED and subtask.lease is not None
    }
