"""The market's messages on libp2p, typed and verified in both directions.

Gossip carries capacity ads and calls; whoever missed a call pulls it from any peer it is connected
to, on connecting and from time to time. Bids, awards and losses go straight from peer to peer over
whichever connection there is, so a provider needs no open port.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from google.protobuf.message import DecodeError, Message

from reelmesh.errors import PeerError
from reelmesh.node.p2p.addresses import parse_peer_address
from reelmesh.node.p2p.books import AdBook, CallBook, OpenCall
from reelmesh.node.p2p.bounds import OutOfBounds, check_bounds
from reelmesh.node.p2p.errors import MessageTooLarge
from reelmesh.node.p2p.freshness import (
    Expired,
    FromTheFuture,
    LivesTooLong,
    ReplayCache,
    Replayed,
    TooManyLive,
)
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.p2p.inbox import Opened, WrongSender, open_from
from reelmesh.node.p2p.reasons import BidRefusal
from reelmesh.node.wallet.envelope import BadEnvelope, seal
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2 as pb

if TYPE_CHECKING:
    from reelmesh.scheduler.ids import NodeAddress

log = structlog.stdlib.get_logger(__name__)

ADS_TOPIC: Final = "/reelmesh/1/ads"
CALLS_TOPIC: Final = "/reelmesh/1/calls"
OPEN_CALLS: Final = "/reelmesh/1/open-calls"
BID: Final = "/reelmesh/1/bid"
AWARD: Final = "/reelmesh/1/award"
LOSS: Final = "/reelmesh/1/loss"

MAX_OPEN_CALLS: Final = 64
MAX_OPEN_CALLS_BYTES: Final = 1_000_000
MAX_ACK_BYTES: Final = 1024
PULL_EVERY_S: Final = 15.0
PULL_FROM: Final = 4
KEEP_COORDINATOR_S: Final = 900.0

M = TypeVar("M", bound=Message)

AdHandler = Callable[["NodeAddress", pb.CapacityAd], Awaitable[None]]
CallHandler = Callable[["NodeAddress", pb.Call, str], Awaitable[None]]
"""(signer, call, peer id that it came from)"""
BidHandler = Callable[["NodeAddress", str, pb.Bid, pb.Envelope], Awaitable[pb.BidReply]]
"""(signer, its peer id, bid, as signed) → what the bidder is told"""
AwardHandler = Callable[["NodeAddress", pb.Award, pb.Envelope], Awaitable[bool | None]]
"""(signer, award, as signed) → False to refuse"""
LossHandler = Callable[["NodeAddress", pb.Loss], Awaitable[None]]


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class MarketNetwork:
    """What a node says and hears in the market. Make it before or after `host.start()`.

    Handlers are called on the asyncio loop with messages that are signed, in bounds, within their
    time and not seen before; a handler that raises is logged and does no harm. A node's own
    messages are not handed back to it.

    Args:
        host: The libp2p host; its identity must be `key`.
        key: Signs everything said here.
        now_ms: The clock.

    Attributes:
        ads: The live ads of others.
        calls: The calls open now, own and heard; what peers may pull from here.
    """

    def __init__(
        self, host: P2PHost, key: NodeKey, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        self._host, self._key, self._now_ms = host, key, now_ms
        self.ads = AdBook(now_ms)
        self.calls = CallBook(now_ms)
        self._replays = {name: ReplayCache() for name in ("ad", "call", "bid", "award", "loss")}
        self._on_ad: list[AdHandler] = []
        self._on_call: list[CallHandler] = []
        self._own_calls: Callable[[], list[pb.Envelope]] | None = None
        self._on_bid: BidHandler | None = None
        self._on_award: AwardHandler | None = None
        self._on_loss: LossHandler | None = None
        host.subscribe(ADS_TOPIC, self._hear_ad, self._validator(pb.CapacityAd))
        host.subscribe(CALLS_TOPIC, self._hear_call, self._validator(pb.Call))
        host.serve(OPEN_CALLS, self._answer_open_calls, 256, MAX_OPEN_CALLS_BYTES + 4096)
        host.serve(BID, self._answer_bid, max_reply=MAX_ACK_BYTES)
        host.serve(AWARD, self._answer_award, max_reply=MAX_ACK_BYTES)
        host.serve(LOSS, self._answer_loss, max_reply=MAX_ACK_BYTES)
        host.on_peer.append(self._pull_quietly)
        host.every(PULL_EVERY_S, self._pull_from_some)

    # Saying.

    async def publish_ad(self, ad: pb.CapacityAd) -> None:
        """Gossip this provider's ad; repeat it well before it expires. Raises HostDown."""
        check_bounds(ad)
        await self._host.publish(ADS_TOPIC, seal(self._key, ad).SerializeToString())

    async def publish_call(self, call: pb.Call) -> None:
        """Gossip a call and let peers pull it until it closes.

        Gossip may be lost: repeat the same call every second or so until it closes. One too large
        for gossip can be pulled only. Raises HostDown, OutOfBounds.
        """
        check_bounds(call)
        envelope = seal(self._key, call)
        self.calls.put(OpenCall(self._key.address, call, envelope))
        try:
            await self._host.publish(CALLS_TOPIC, envelope.SerializeToString())
        except MessageTooLarge:
            log.info("call_too_large_for_gossip", job=call.job_id.hex(), bytes=call.ByteSize())

    def withdraw_call(self, job_id: bytes, round_: int | None = None) -> None:
        """No longer hand out own calls of a job (of one round, or all)."""
        self.calls.withdraw(self._key.address, job_id, round_)

    async def send_bid(
        self, coordinator_multiaddr: str, bid: pb.Bid, timeout_s: float = 10.0
    ) -> pb.BidReply:
        """Send a sealed bid to the coordinator alone, and stay connected to hear the outcome.

        Returns what it says; `accepted` means received in time and well formed, not won. Raises
        BadMultiaddr, PeerUnreachable, RequestRefused, RequestTimedOut, HostDown, OutOfBounds.
        """
        check_bounds(bid)
        _, peer = parse_peer_address(coordinator_multiaddr)
        await self._host.connect(coordinator_multiaddr, timeout_s)
        await self._host.keep_connected(coordinator_multiaddr, KEEP_COORDINATOR_S)
        return await self._send(peer, BID, bid, timeout_s)

    async def send_award(self, peer_id: str, award: pb.Award, timeout_s: float = 10.0) -> bool:
        """Push an award to a bidder; whether it took it. Safe to repeat. Raises as `send_bid`."""
        check_bounds(award)
        return (await self._send(peer_id, AWARD, award, timeout_s)).accepted

    async def send_loss(self, peer_id: str, loss: pb.Loss, timeout_s: float = 10.0) -> bool:
        """Tell a bidder what it did not win and why. Safe to repeat. Raises as `send_bid`."""
        check_bounds(loss)
        return (await self._send(peer_id, LOSS, loss, timeout_s)).accepted

    async def pull_open_calls(
        self, peer_id: str, limit: int = MAX_OPEN_CALLS
    ) -> list[tuple[NodeAddress, pb.Call]]:
        """Ask a peer for the calls that it knows to be open; invalid ones are left out.

        New ones also go to the `on_call` handlers. Raises PeerUnreachable, RequestRefused,
        RequestTimedOut, MessageTooLarge, BadEnvelope, HostDown.
        """
        request = pb.OpenCallsRequest(limit=min(limit, MAX_OPEN_CALLS)).SerializeToString()
        data = await self._host.request(
            peer_id, OPEN_CALLS, request, max_reply=MAX_OPEN_CALLS_BYTES + 4096
        )
        try:
            reply = pb.OpenCallsReply.FromString(data)
        except DecodeError as exc:
            raise BadEnvelope("the reply is no list of calls") from exc
        calls: list[tuple[NodeAddress, pb.Call]] = []
        for envelope in reply.calls[:MAX_OPEN_CALLS]:
            try:
                opened = open_from(envelope, pb.Call, self._now_ms(), None)
            except PeerError as exc:
                log.debug("pulled_call_refused", peer=peer_id, why=str(exc))
                continue
            calls.append((opened.sender, opened.message))
            await self._take_call(opened, peer_id)
        return calls

    # Hearing.

    def on_ad(self, handler: AdHandler) -> None:
        """Have `handler` called with each new ad of another node."""
        self._on_ad.append(handler)

    def on_call(self, handler: CallHandler) -> None:
        """Have `handler` called once with each issue of a call of another node."""
        self._on_call.append(handler)

    def serve_open_calls(self, get: Callable[[], list[pb.Envelope]]) -> None:
        """Hand out these calls too, before the ones published and heard here."""
        self._own_calls = get

    def serve_bids(self, handler: BidHandler) -> None:
        """Take bids; see `BidRefusal` for what is answered before `handler` sees one."""
        self._on_bid = handler

    def serve_awards(self, handler: AwardHandler) -> None:
        """Take awards that are meant for this node."""
        self._on_award = handler

    def serve_losses(self, handler: LossHandler) -> None:
        """Hear what own bids did not win."""
        self._on_loss = handler

    # Inside.

    def _validator(self, expected: type[Message]) -> Callable[[str, bytes], bool]:
        def validate(origin: str, data: bytes) -> bool:
            try:
                open_from(data, expected, self._now_ms(), origin)
            except PeerError as exc:
                log.debug("gossip_refused", origin=origin, why=str(exc))
                return False
            return True

        return validate

    async def _send(
        self, peer: str, protocol: str, message: Message, timeout_s: float
    ) -> pb.BidReply:
        data = seal(self._key, message).SerializeToString()
        answer = await self._host.request(peer, protocol, data, timeout_s, MAX_ACK_BYTES)
        try:
            reply = pb.BidReply.FromString(answer)
        except DecodeError as exc:
            raise OutOfBounds("the answer is no reply") from exc
        check_bounds(reply)
        return reply

    async def _hear_ad(self, origin: str, data: bytes) -> None:
        opened = open_from(data, pb.CapacityAd, self._now_ms(), origin)
        if opened.sender == self._key.address:
            return
        key = opened.message.issued_at_ms.to_bytes(8, "big")
        if not self._is_new("ad", opened, key) or not self.ads.put(opened.sender, opened.message):
            return
        for handler in self._on_ad:
            await handler(opened.sender, opened.message)

    async def _hear_call(self, origin: str, data: bytes) -> None:
        await self._take_call(open_from(data, pb.Call, self._now_ms(), origin), origin)

    async def _take_call(self, opened: Opened[pb.Call], via: str) -> None:
        call = opened.message
        if opened.sender == self._key.address:
            return
        key = call.job_id + call.round.to_bytes(4, "big") + call.issued_at_ms.to_bytes(8, "big")
        if not self._is_new("call", opened, key):
            return
        self.calls.put(OpenCall(opened.sender, call, opened.envelope))
        for handler in self._on_call:
            try:
                await handler(opened.sender, call, via)
            except Exception as exc:  # noqa: BLE001 - one handler's fault is not the next one's
                log.warning("call_handler_failed", error=repr(exc)[:200])

    def _is_new(self, kind: str, opened: Opened[M], key: bytes) -> bool:
        try:
            self._admit(kind, opened, key)
        except PeerError:
            return False
        return True

    def _admit(self, kind: str, opened: Opened[M], key: bytes) -> None:
        self._replays[kind].admit(opened.sender, key, opened.expires_at_ms, self._now_ms())

    async def _pull_quietly(self, peer: str) -> None:
        if not self._on_call:
            return
        try:
            await self.pull_open_calls(peer)
        except PeerError as exc:
            log.debug("pull_failed", peer=peer, why=str(exc))

    async def _pull_from_some(self) -> None:
        peers = self._host.peers()
        for peer in random.sample(peers, min(PULL_FROM, len(peers))):
            await self._pull_quietly(peer)

    async def _answer_open_calls(self, _peer: str, data: bytes) -> bytes:
        limit = min(pb.OpenCallsRequest.FromString(data).limit, MAX_OPEN_CALLS)
        envelopes = self._own_calls() if self._own_calls is not None else []
        known = {e.signature for e in envelopes}
        envelopes += [c.envelope for c in self.calls.entries() if c.envelope.signature not in known]
        reply, size = pb.OpenCallsReply(), 0
        for envelope in envelopes[:limit]:
            size += envelope.ByteSize() + 8
            if size > MAX_OPEN_CALLS_BYTES:
                break
            reply.calls.append(envelope)
        return reply.SerializeToString()

    async def _answer_bid(self, peer: str, data: bytes) -> bytes:
        try:
            opened = open_from(data, pb.Bid, self._now_ms(), peer)
            if self._on_bid is None:
                return _ack(BidRefusal.NOT_TAKING_BIDS)
            self._admit("bid", opened, opened.message.nonce)
        except PeerError as exc:
            log.info("bid_refused", peer=peer, why=str(exc))
            return _ack(_refusal(exc))
        try:
            reply = await self._on_bid(opened.sender, peer, opened.message, opened.envelope)
        except Exception as exc:  # noqa: BLE001 - the bidder is owed an answer
            log.warning("bid_handler_failed", peer=peer, error=repr(exc)[:200])
            return _ack(BidRefusal.FAILED)
        return reply.SerializeToString()

    async def _answer_award(self, peer: str, data: bytes) -> bytes:
        async def handle(opened: Opened[pb.Award]) -> bool | None:
            assert self._on_award is not None
            return await self._on_award(opened.sender, opened.message, opened.envelope)

        try:
            opened = open_from(data, pb.Award, self._now_ms(), peer)
            if opened.message.provider != bytes.fromhex(self._key.address[2:]):
                raise WrongSender("the award is for another node")
        except PeerError as exc:
            log.info("award_refused", peer=peer, why=str(exc))
            return _ack(_refusal(exc))
        if self._on_award is None:
            return _ack(BidRefusal.NOT_TAKING_BIDS)
        return await self._once("award", opened, handle)

    async def _answer_loss(self, peer: str, data: bytes) -> bytes:
        async def handle(opened: Opened[pb.Loss]) -> None:
            if self._on_loss is not None:
                await self._on_loss(opened.sender, opened.message)

        try:
            opened = open_from(data, pb.Loss, self._now_ms(), peer)
        except PeerError as exc:
            log.info("loss_refused", peer=peer, why=str(exc))
            return _ack(_refusal(exc))
        return await self._once("loss", opened, handle)

    async def _once(
        self, kind: str, opened: Opened[M], handle: Callable[[Opened[M]], Awaitable[bool | None]]
    ) -> bytes:
        """Hand on what was not seen; what was, because its answer got lost, is only confirmed."""
        key = hashlib.sha256(opened.envelope.payload).digest()
        try:
            self._admit(kind, opened, key)
        except Replayed:
            return pb.BidReply(accepted=True, reason=BidRefusal.REPLAYED).SerializeToString()
        except PeerError as exc:
            return _ack(_refusal(exc))
        try:
            taken = await handle(opened)
        except Exception as exc:  # noqa: BLE001 - the sender is owed an answer, and may try again
            self._replays[kind].forget(opened.sender, key)
            log.warning("handler_failed", kind=kind, error=repr(exc)[:200])
            return _ack(BidRefusal.FAILED)
        if taken is False:
            self._replays[kind].forget(opened.sender, key)
            return pb.BidReply(accepted=False, reason="refused").SerializeToString()
        return pb.BidReply(accepted=True).SerializeToString()


def _ack(reason: BidRefusal) -> bytes:
    return pb.BidReply(accepted=False, reason=reason.value).SerializeToString()


def _refusal(error: PeerError) -> BidRefusal:
    for kind, reason in (
        (WrongSender, BidRefusal.WRONG_SENDER),
        (Expired, BidRefusal.EXPIRED),
        (FromTheFuture, BidRefusal.FROM_THE_FUTURE),
        (LivesTooLong, BidRefusal.MALFORMED),
        (Replayed, BidRefusal.REPLAYED),
        (TooManyLive, BidRefusal.TOO_MANY),
    ):
        if isinstance(error, kind):
            return reason
    return BidRefusal.MALFORMED
