"""From calls to bids, and from awards to work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from reelmesh.contracts.errors import ChainInconsistent
from reelmesh.contracts.market import MarketClient
from reelmesh.errors import ChainError, PeerError
from reelmesh.node.logging import get_logger
from reelmesh.node.p2p.network import MarketNetwork
from reelmesh.node.provider.award import AwardRefused, SentBid, amount, check_award, check_escrow
from reelmesh.node.provider.home import short
from reelmesh.node.provider.lanes import Board
from reelmesh.node.provider.ledger import JobLedger
from reelmesh.node.provider.machine import Machine
from reelmesh.node.provider.policy import Decision, Standing, decide
from reelmesh.node.provider.session import JobSession, Node
from reelmesh.node.provider.state import JobRecord
from reelmesh.node.wallet.keys import new_nonce
from reelmesh.proto import market_pb2
from reelmesh.scheduler.ids import ether
from reelmesh.scheduler.models import offering

log = get_logger(__name__)

K = TypeVar("K")
V = TypeVar("V")

_BIDS_KEPT = 256
_BID_LIFE_MS = 600_000
_CHAIN_PATIENCE_S = 12.0
_ASK_AGAIN_S = 0.5
_COMES_BACK = frozenset({"coordinator_vanished", "not_resumed"})
"""Reasons for having stopped that a new award of the same coordinator undoes."""


@dataclass(frozen=True)
class Market:
    """The market that this provider trades in, as it is found on chain and on the network."""

    chain_id: int
    client: MarketClient
    from_block: int
    network: MarketNetwork

    @property
    def address(self) -> bytes:
        """The Market contract's 20 bytes."""
        return bytes.fromhex(self.client.address.removeprefix("0x"))


class Bidder:
    """Answers calls with bids, awards with work.

    Args:
        busy_slots: How many lanes hold a lease now.
    """

    def __init__(
        self,
        market: Market,
        node: Node,
        machine: Machine,
        board: Board,
        *,
        slots: int,
        uplink_mbps: float,
        busy_slots: Callable[[], int],
    ) -> None:
        self._market = market
        self._node = node
        self._machine = machine
        self._board = board
        self._slots = slots
        self._uplink_mbps = uplink_mbps
        self._busy_slots = busy_slots
        self._bids: dict[str, SentBid] = {}
        self._seen: dict[tuple[str, int], bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._awarding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.accepting = True

    def serve(self) -> None:
        """Take part: from now on calls, awards and losses are answered."""
        network = self._market.network
        network.on_call(self.on_call)
        network.serve_awards(self.on_award)
        network.serve_losses(self.on_loss)

    async def stop(self) -> None:
        """Bid no more."""
        self.accepting = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def on_call(self, sender: str, call: market_pb2.Call, _via: str) -> None:
        """Bid once on each round of a job's call; the sending does not hold up the next call."""
        key = (call.job_id.hex(), call.round)
        if key in self._seen:
            return
        _keep(self._seen, key, True)
        decision = decide(call, self._standing(), self._machine.policy(), self._node.clock_ms())
        job = "0x" + call.job_id.hex()
        log.info("call_seen", job=short(job), round=call.round, subtasks=len(call.subtasks))
        if not decision.bids:
            declined = dict(decision.declined)
            log.info(
                "no_bid", job=short(job), reason=decision.refused or "declined", declined=declined
            )
            return
        bid = SentBid.of(call, sender, decision.stages)
        earlier = self._bids.get(job)
        if earlier is not None and earlier.coordinator != sender:
            log.warning("no_bid", job=short(job), reason="other_coordinator")
            return
        _keep(self._bids, job, bid.after(earlier))
        task = asyncio.create_task(self._send(job, call, decision), name=f"bid-{job[:10]}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def on_award(
        self, sender: str, award: market_pb2.Award, _envelope: market_pb2.Envelope
    ) -> bool:
        """Check an award and begin to work for it; False says no."""
        job = "0x" + award.job_id.hex()
        try:
            # held by all who wait for it, so that it is gone with the last of them
            lock = self._awarding.setdefault(job, asyncio.Lock())
            async with lock:
                await self._take(job, sender, award)
        except (AwardRefused, PeerError) as error:
            reason = error.reason if isinstance(error, AwardRefused) else "refused"
            log.warning("award_refused", job=short(job), reason=reason, why=str(error))
            return False
        return True

    async def on_loss(self, _sender: str, loss: market_pb2.Loss) -> None:
        """Say what was lost and why."""
        reasons: dict[str, list[str]] = {}
        for one in loss.subtasks:
            at = f" at {ether(int(one.winning_price))}" if one.winning_price else ""
            reasons.setdefault(one.reason, []).append(one.id + at)
        for reason, subtasks in reasons.items():
            log.info("lost", job=short(loss.job_id), reason=reason, subtasks=", ".join(subtasks))

    async def _send(self, job: str, call: market_pb2.Call, decision: Decision) -> None:
        """Send the bid, again while the coordinator cannot be reached and the call is open."""
        while self._node.clock_ms() < call.closes_at_ms:
            try:
                reply = await self._market.network.send_bid(
                    call.coordinator_peer, self._bid(call, decision)
                )
            except PeerError as error:
                log.info("bid_not_sent", job=short(job), why=error.message)
                await asyncio.sleep(_ASK_AGAIN_S)
                continue
            stages = {
                offering(one.stage, one.model): ether(int(one.price_per_unit))
                for one in decision.stages
            }
            if reply.accepted:
                declined = dict(decision.declined)
                log.info("bid_sent", job=short(job), eth_per_unit=stages, declined=declined)
            else:
                log.warning("bid_refused", job=short(job), reason=reply.reason)
            return

    def _bid(self, call: market_pb2.Call, decision: Decision) -> market_pb2.Bid:
        now = self._node.clock_ms()
        return market_pb2.Bid(
            job_id=call.job_id,
            round=call.round,
            stages=decision.stages,
            declined=[f"{stage}: {why}" for stage, why in decision.declined.items()],
            slots=self._slots,
            memory_mb=self._machine.memory_mb,
            queue_seconds=self._queue_s(),
            uplink_mbps=self._uplink_mbps,
            certificate_der=self._node.certificate.der,
            device_class=self._machine.device_class,
            issued_at_ms=now,
            expires_at_ms=now + _BID_LIFE_MS,
            nonce=new_nonce(),
        )

    async def _take(self, job: str, sender: str, award: market_pb2.Award) -> None:
        me, now = self._node.key.address, self._node.clock_ms()
        kept = await self._node.state.job(job)
        bid = self._bids.get(job) or (kept.bid if kept is not None else None)
        check_award(award, sender, me, bid, now)
        await self._check_chain(award)
        assert bid is not None
        if kept is None:
            ledger = JobLedger(cap=amount(award.cap))
            session = JobSession(JobRecord(job, award, bid, ledger, now), self._node)
            await session.save()
            await self._board.add(session)
        else:
            await self._renew(kept, award, bid)
        log.info(
            "won",
            job=short(job),
            subtasks=", ".join(one.id for one in award.subtasks),
            eth=ether(sum(int(one.price) for one in award.subtasks)),
        )

    async def _renew(self, kept: JobRecord, award: market_pb2.Award, bid: SentBid) -> None:
        """A new round of a job at work, or the same award from a coordinator that moved."""
        session = self._board.get(kept.job_id)
        if session is None or not (session.working or session.record.reason in _COMES_BACK):
            raise AwardRefused("job_over", "an award for a job that is over here")
        ledger = session.ledger.recapped(amount(award.cap))
        await session.renew(JobRecord(kept.job_id, award, bid, ledger, kept.awarded_ms))
        await self._board.add(session)

    async def _check_chain(self, award: market_pb2.Award) -> None:
        """The award's transaction may not have reached our endpoint yet: ask a few times."""

        async def check() -> None:
            await check_escrow(award, self._market.client, self._market.from_block)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((NotSeenYet, ChainError, ChainInconsistent)),
            stop=stop_after_delay(_CHAIN_PATIENCE_S),
            wait=wait_fixed(_ASK_AGAIN_S),
            reraise=True,
        )
        try:
            await retrying(_patiently, check)
        except NotSeenYet as error:
            raise error.refusal from error
        except ChainError as error:
            raise AwardRefused("chain_unreachable", error.message) from error

    def _standing(self) -> Standing:
        return Standing(
            chain_id=self._market.chain_id,
            market=self._market.address,
            rates=self._machine.rates(),
            memory_mb=self._machine.memory_mb,
            busy_slots=self._busy_slots(),
            queue_s=self._queue_s(),
            accepting=self.accepting,
        )

    def _queue_s(self) -> float:
        """Seconds until awarded work is done, if it all came at once."""
        waiting = 0.0
        for job in self._board.working():
            done = job.ledger.done
            names = (one.id for one in job.record.award.subtasks if one.id not in done)
            waiting += sum(job.record.bid.seconds(name) for name in names)
        return waiting / self._slots


class NotSeenYet(Exception):
    """The chain does not show the award; it may yet."""

    def __init__(self, refusal: AwardRefused) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def _patiently(check: Callable[[], Awaitable[None]]) -> None:
    try:
        await check()
    except AwardRefused as error:
        if error.reason in ("not_escrowed", "not_committed"):
            raise NotSeenYet(error) from error
        raise


def _keep(table: dict[K, V], key: K, value: V) -> None:
    """Remember, and forget the oldest beyond a few hundred."""
    table[key] = value
    while len(table) > _BIDS_KEPT:
        del table[next(iter(table))]
