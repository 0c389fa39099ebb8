"""GossipSub with a reader that bad frames cannot hurt.

The library's reader spawns a task for every message of a frame, and an exception in any of them
ends the host. This one handles a frame's messages one after the other, under rates per peer, and
contains whatever they raise. Signatures are mandatory (`strict_signing`), topics are a fixed set,
and validators are plain functions that may refuse or raise without harm.
"""

# ruff: noqa: BLE001 - what a peer makes go wrong ends its message alone
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final

import structlog
from google.protobuf.message import DecodeError
from libp2p.abc import IHost, INetStream
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from reelmesh.node.p2p.hardening import keep_going, reset_quietly
from reelmesh.node.p2p.limits import Bans, PeerRates
from reelmesh.node.p2p.metrics import Metrics
from reelmesh.node.p2p.settings import P2PSettings

log = structlog.stdlib.get_logger(__name__)

Validator = Callable[[str, bytes], bool]
"""(peer id of the origin, payload) → keep and forward it? Called on libp2p's thread: be quick."""
Cutoff = Callable[[ID], Awaitable[None]]

MAX_FLOOD: Final = 128
MAX_TOPIC_CHARS: Final = 128
MAX_CONTROL_ENTRIES: Final = 256
MAX_CONTROL_IDS: Final = 1024
INVALID_COST: Final = 5.0
"""A message that a validator refuses costs its forwarder as much as this many good ones."""


class FloodPublisher(GossipSub):
    """GossipSub that sends what it publishes itself to every subscriber it is connected to.

    The mesh alone leaves out who is subscribed but not yet grafted, as after a start. This is
    "flood publishing" of GossipSub 1.1; forwarding stays with the mesh.
    """

    def _get_peers_to_send(
        self, topic_ids: Iterable[str], msg_forwarder: ID, origin: ID, msg_id: bytes | None = None
    ) -> Iterable[ID]:
        topics = list(topic_ids)
        chosen = set(super()._get_peers_to_send(topics, msg_forwarder, origin, msg_id))
        if self.pubsub is not None and msg_forwarder == self.pubsub.my_id:
            everyone = {p for topic in topics for p in self.pubsub.peer_topics.get(topic, ())}
            more = list(everyone - chosen - {origin})
            chosen.update(more[: max(0, MAX_FLOOD - len(chosen))])
        return chosen


def make_router() -> GossipSub:
    """GossipSub 1.2 with a heartbeat of a second; peers' own limits replace its spam check."""
    return FloodPublisher(
        protocols=[PROTOCOL_ID_V12, PROTOCOL_ID_V11, PROTOCOL_ID],
        degree=6,
        degree_low=4,
        degree_high=12,
        time_to_live=60,
        gossip_window=3,
        gossip_history=5,
        heartbeat_initial_delay=0.1,
        heartbeat_interval=1,
        prune_back_off=10,
        max_messages_per_topic_per_second=1000.0,
        # It prefers peers of other addresses, and would only churn where all share one.
        eclipse_protection_enabled=False,
    )


class GuardedPubsub(Pubsub):
    """Pubsub whose inbound side is bounded, rated and contained."""

    def __init__(
        self,
        host: IHost,
        router: GossipSub,
        settings: P2PSettings,
        bans: Bans,
        metrics: Metrics,
        cut_off: Cutoff,
    ) -> None:
        keep_going(router, "heartbeat", metrics)
        super().__init__(
            host,
            router,
            strict_signing=True,
            max_subscriptions_per_rpc=64,
            max_subscriptions_per_peer=32,
            max_inbound_rpc_size=settings.max_rpc_bytes,
        )
        self._settings = settings
        self._bans = bans
        self._metrics = metrics
        self._cut_off = cut_off
        self._frames = PeerRates(settings.rpc_rate, settings.rpc_burst, time.monotonic)
        self._messages = PeerRates(settings.gossip_rate, settings.gossip_burst, time.monotonic)

    def set_validator(self, topic: str, validator: Validator) -> None:
        """Install a topic's validator; one that raises refuses the message."""

        async def check(forwarder: ID, msg: rpc_pb2.Message) -> bool:
            try:
                kept = list(msg.topicIDs) == [topic] and validator(str(ID(msg.from_id)), msg.data)
            except Exception as exc:
                log.warning("validator_failed", topic=topic, error=repr(exc)[:200])
                kept = False
            if not kept:
                self._metrics.add("invalid_gossip")
                self._messages.take(str(forwarder), INVALID_COST - 1.0)
            return kept

        self.set_topic_validator(topic, check, True)

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Read one peer's frames until it ends; resets the stream at the first bad one."""
        peer_id = stream.muxed_conn.peer_id
        peer = str(peer_id)
        try:
            while self.manager.is_running:
                frame = await read_varint_prefixed_bytes_limited(stream, self.max_inbound_rpc_size)
                if peer in self._bans:
                    await reset_quietly(stream)
                    return
                if not self._frames.take(peer):
                    await self._ban(peer_id)
                    return
                await self._handle_frame(peer_id, rpc_pb2.RPC.FromString(frame))
        except (DecodeError, ParseError, MessageTooLarge, _BadFrame) as exc:
            self._metrics.add("bad_rpc")
            log.warning("bad_pubsub_frame", peer=peer, error=repr(exc)[:200])
            await reset_quietly(stream)
            self._handle_dead_peer(peer_id)

    async def _handle_frame(self, peer_id: ID, rpc: rpc_pb2.RPC) -> None:
        _check_frame(rpc, self._settings.max_messages_per_rpc)
        if not maybe_consume_signed_record(rpc, self.host, peer_id):
            raise _BadFrame("the sender's record is not its own")
        for message in rpc.publish:
            await self._take_message(peer_id, message)
        if len(rpc.subscriptions) <= self.max_subscriptions_per_rpc:
            for subscription in rpc.subscriptions:
                if len(subscription.topicid) <= MAX_TOPIC_CHARS:
                    self.handle_subscription(peer_id, subscription)
        if rpc.HasField("control"):
            _tame_control(rpc.control, self.topic_ids)
            await self.router.handle_rpc(rpc, peer_id)

    async def _take_message(self, peer_id: ID, message: rpc_pb2.Message) -> None:
        if not self._is_subscribed_to_msg(message):
            return
        if len(message.data) > self._settings.max_gossip_bytes:
            raise _BadFrame("a message is too large")
        if not self._messages.take(str(peer_id)):
            self._metrics.add("gossip_dropped")
            return
        try:
            await self.push_msg(peer_id, message)
        except Exception as exc:
            self._metrics.add("bad_gossip")
            log.warning("bad_gossip", peer=str(peer_id), error=repr(exc)[:200])

    async def _ban(self, peer_id: ID) -> None:
        self._metrics.add("flooders_banned")
        self._bans.add(str(peer_id))
        log.warning("flooder_banned", peer=str(peer_id), seconds=self._settings.ban_s)
        await self._cut_off(peer_id)


class _BadFrame(Exception):
    """A frame that parses but is out of bounds."""


def _check_frame(rpc: rpc_pb2.RPC, max_messages: int) -> None:
    if len(rpc.publish) > max_messages:
        raise _BadFrame(f"{len(rpc.publish)} messages in one frame")
    if any(len(m.topicIDs) > 4 or len(m.from_id) > 64 or len(m.seqno) > 16 for m in rpc.publish):
        raise _BadFrame("a message's header is too long")
    control = rpc.control
    entries = len(control.ihave) + len(control.iwant) + len(control.graft) + len(control.prune)
    entries += len(control.idontwant)
    ids = sum(len(c.messageIDs) for c in control.ihave)
    ids += sum(len(c.messageIDs) for c in control.iwant)
    ids += sum(len(c.messageIDs) for c in control.idontwant)
    if entries > MAX_CONTROL_ENTRIES or ids > MAX_CONTROL_IDS:
        raise _BadFrame("too many control messages in one frame")


def _tame_control(control: rpc_pb2.ControlMessage, topics: Collection[str]) -> None:
    """Leave out what libp2p would remember for topics unknown here, or dial on a peer's word."""
    fields: tuple[Any, ...] = (control.ihave, control.graft, control.prune)
    for field in fields:
        kept = [entry for entry in field if entry.topicID in topics]
        del field[:]
        field.extend(kept)
    for prune in control.prune:
        del prune.peers[:]
