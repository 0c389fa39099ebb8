"""Taking bids: who bids, whether it may, and what it offers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import structlog

from reelmesh.errors import ChainError
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.services import Services
from reelmesh.node.p2p.reasons import BidRefusal
from reelmesh.node.rpc.certs import BadCertificate, verify_certificate
from reelmesh.proto import market_pb2
from reelmesh.scheduler.ids import NodeAddress, Wei
from reelmesh.scheduler.job.events import BidReceived
from reelmesh.scheduler.job.state import Offer, StageOffer, TenderPhase
from reelmesh.scheduler.offers import MAX_SLOTS

log = structlog.stdlib.get_logger(__name__)

_STAKE_KNOWN_MS: Final = 30_000
_MAX_SECONDS_PER_UNIT: Final = 1e6
_MAX_MEMORY_MB: Final = 2**31
_MOST_SHOWN: Final = 100
_ROUNDS_KEPT: Final = 64
CHAIN_UNREACHABLE: Final = "chain_unreachable"


class BidDesk:
    """Answers bids for all jobs of this coordinator.

    The network layer has checked signature, sender, bounds, expiry and the nonce; here a bid is
    held against the call, the chain and its certificate.

    Args:
        jobs: Job id in bytes to the job; read at each bid.
    """

    def __init__(self, services: Services, jobs: Mapping[bytes, JobDriver]) -> None:
        self._services = services
        self._jobs = jobs
        self._active: dict[NodeAddress, int] = {}
        self._shown: dict[tuple[bytes, int], set[tuple[NodeAddress, str]]] = {}

    async def take(
        self, sender: NodeAddress, peer_id: str, bid: market_pb2.Bid, _envelope: market_pb2.Envelope
    ) -> market_pb2.BidReply:
        """Accept a bid, or refuse it with a reason code."""
        job = self._jobs.get(bid.job_id)
        if job is None:
            return _refused(BidRefusal.UNKNOWN_JOB)
        reason = await self._try(job, sender, peer_id, bid)
        if reason is not None:
            self._show(job, bid.job_id, sender, str(reason))
            return _refused(reason)
        return market_pb2.BidReply(accepted=True)

    async def _try(
        self, job: JobDriver, sender: NodeAddress, peer_id: str, bid: market_pb2.Bid
    ) -> str | None:
        reason = _misfits(job, bid, sender, self._services.clock_ms())
        if reason is not None:
            return reason
        try:
            if not await self._is_active(sender):
                return BidRefusal.NOT_REGISTERED
        except ChainError as error:
            log.warning("stake_not_checked", provider=sender, why=str(error))
            return CHAIN_UNREACHABLE
        offer = _offer(sender, peer_id, bid)
        event = BidReceived(at_ms=self._services.clock_ms(), round=bid.round, offer=offer)
        state = await job.feed(event)
        known = state.tender.bidders.get(sender) if state.tender is not None else None
        return None if known == offer.nonce else BidRefusal.CLOSED

    def _show(self, job: JobDriver, job_id: bytes, sender: NodeAddress, reason: str) -> None:
        """Tell watchers, but each thing once a round and not without end: anyone may send bids."""
        if job.ended:
            return
        shown = self._shown.setdefault((job_id, job.state.rounds), set())
        if (sender, reason) in shown or len(shown) >= _MOST_SHOWN:
            return
        shown.add((sender, reason))
        while len(self._shown) > _ROUNDS_KEPT:
            del self._shown[next(iter(self._shown))]
        job.note("bid_refused", {"provider": sender, "reason": reason})

    async def _is_active(self, provider: NodeAddress) -> bool:
        """Whether the provider has an active stake; a yes is remembered for half a minute."""
        now_ms = self._services.clock_ms()
        if now_ms - self._active.get(provider, -_STAKE_KNOWN_MS) < _STAKE_KNOWN_MS:
            return True
        active = await self._services.providers.is_active(provider)
        if active:
            self._active[provider] = now_ms
        return active


def _misfits(
    job: JobDriver, bid: market_pb2.Bid, sender: NodeAddress, now_ms: int
) -> BidRefusal | None:
    """Why a bid does not fit the call that is open now; None if it does."""
    tender = job.state.tender
    if tender is None or tender.phase is not TenderPhase.CALLING or now_ms >= tender.closes_ms:
        return BidRefusal.CLOSED
    if bid.round != tender.round:
        return BidRefusal.WRONG_ROUND
    if sender in tender.bidders:
        return BidRefusal.TOO_MANY
    if not 1 <= bid.slots <= MAX_SLOTS or bid.memory_mb >= _MAX_MEMORY_MB or not bid.uplink_mbps:
        return BidRefusal.MALFORMED
    if not all(_sound(line) for line in bid.stages):
        return BidRefusal.MALFORMED
    called = {
        (s.item.stage, s.item.stage_version, s.item.model)
        for name, s in job.state.subtasks.items()
        if name in set(tender.subtasks)
    }
    if not any((line.stage, line.stage_version, line.model) in called for line in bid.stages):
        return BidRefusal.NOTHING_OFFERED
    try:
        if verify_certificate(bid.certificate_der, now_ms) != sender:
            return BidRefusal.BAD_CERTIFICATE
    except BadCertificate:
        return BidRefusal.BAD_CERTIFICATE
    return None


def _sound(line: market_pb2.StageBid) -> bool:
    return (
        math.isfinite(line.seconds_per_unit)
        and 0 < line.seconds_per_unit <= _MAX_SECONDS_PER_UNIT
        and line.memory_mb < _MAX_MEMORY_MB
    )


def _offer(sender: NodeAddress, peer_id: str, bid: market_pb2.Bid) -> Offer:
    return Offer(
        provider=sender,
        peer_id=peer_id,
        stages=tuple(
            StageOffer(
                stage=line.stage,
                stage_version=line.stage_version,
                price_per_unit=Wei(int(line.price_per_unit)),
                seconds_per_unit=line.seconds_per_unit,
                memory_mb=line.memory_mb,
                resident=line.resident,
                model=line.model,
                model_hash=line.model_hash.hex(),
            )
            for line in bid.stages
        ),
        slots=bid.slots,
        memory_mb=bid.memory_mb,
        queue_s=bid.queue_seconds,
        uplink_mbps=bid.uplink_mbps,
        device_class=bid.device_class,
        certificate=bid.certificate_der.hex(),
        nonce=bid.nonce.hex(),
    )


def _refused(reason: str) -> market_pb2.BidReply:
    return market_pb2.BidReply(accepted=False, reason=str(reason))
