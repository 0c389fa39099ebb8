"""One run of libp2p, on trio: TCP, noise and yamux, GossipSub, requests, and known peers kept.

Lives inside one `TrioBridge`; `P2PHost` makes a new one after every crash.
"""

# ruff: noqa: BLE001, SLF001 - libp2p raises anything, and hides what has to be set
from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog
import trio
from libp2p import new_host
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.host.basic_host import BasicHost
from libp2p.network import swarm as swarm_module
from libp2p.network.config import ConnectionConfig
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from reelmesh.node.p2p import hardening
from reelmesh.node.p2p.errors import ListenFailed, PeerUnreachable
from reelmesh.node.p2p.exchange import Exchange, Handler
from reelmesh.node.p2p.gossip import GuardedPubsub, Validator, make_router
from reelmesh.node.p2p.limits import Bans
from reelmesh.node.p2p.metrics import Metrics
from reelmesh.node.p2p.settings import P2PSettings

# It logs what peers do wrong as errors of ours, past the logging set up here; we count it instead.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)
log = structlog.stdlib.get_logger(__name__)

# The wait between dials to a peer's several addresses; as shipped, every first dial waits it out.
swarm_module._HAPPY_EYEBALLS_DELAY = 0


ADDRESS_TTL_S: Final = 120
"""How long an address that was dialled stays known; a request to a peer dials it again."""


class Events(Protocol):
    """What the stack tells its owner; called on the trio thread, must not block or raise."""

    def on_message(self, topic: str, origin: str, data: bytes) -> None:
        """A validated gossip message came in."""

    def on_connected(self, peer: str) -> None:
        """A first connection to a peer is up."""

    def on_disconnected(self, peer: str) -> None:
        """The last connection to a peer is gone."""


class Stack:
    """The running host and what hangs on it."""

    def __init__(
        self,
        key_pair: KeyPair,
        settings: P2PSettings,
        metrics: Metrics,
        events: Events,
    ) -> None:
        self._settings, self._metrics, self._events = settings, metrics, events
        self._bans = Bans(settings.ban_s, time.monotonic)
        self.host = _make_host(key_pair, settings)
        network = self.host.get_network()
        assert isinstance(network, Swarm)
        self.swarm = network
        self._dial = hardening.dial_only_when_asked(self.swarm)
        self.exchange = Exchange(self.host, self._dial, settings, metrics)
        self.pubsub = GuardedPubsub(
            self.host, make_router(), settings, self._bans, metrics, self._cut_off
        )
        hardening.guard_streams(self.host, settings, self._bans, metrics)
        hardening.guard_identify(self.host, metrics)
        hardening.bound_inbound(self.swarm, settings, self._bans, metrics)
        self.swarm.register_notifee(_Notifee(self))
        self._nursery: trio.Nursery | None = None
        self._kept: dict[str, tuple[PeerInfo, float]] = {}
        self._wake = trio.Event()

    async def run(
        self, listen: Sequence[Multiaddr], ready: Callable[[], None], stop: trio.Event
    ) -> None:
        """Listen and serve until `stop`. Raises ListenFailed, or whatever ends the host."""
        async with self.host.run(listen_addrs=list(listen)):
            try:
                await self._serve(listen, ready, stop)
            finally:
                # Also after a crash: left open, sockets live until they are garbage collected.
                with trio.CancelScope(shield=True):
                    await hardening.close_sockets(self.swarm)

    async def _serve(
        self, listen: Sequence[Multiaddr], ready: Callable[[], None], stop: trio.Event
    ) -> None:
        if len(self.swarm.listeners) < len(listen):
            raise ListenFailed("cannot listen on all addresses", "choose other ports")
        hardening.guard_tasks(self.swarm.manager, self._metrics)
        async with (
            background_trio_service(self.pubsub) as pubsub,
            background_trio_service(self.pubsub.router) as router,  # type: ignore[arg-type]
            trio.open_nursery() as nursery,
        ):
            hardening.guard_tasks(pubsub, self._metrics)
            hardening.guard_tasks(router, self._metrics)
            await self.pubsub.wait_until_ready()
            self._nursery = nursery
            nursery.start_soon(
                hardening.watch_buffers, self.swarm, self._settings, self._bans, self._metrics
            )
            nursery.start_soon(self._keep_connected)
            # A service that ends by itself, because of an error, ends the host with it.
            nursery.start_soon(_watch, self.swarm.manager, "swarm")
            nursery.start_soon(_watch, pubsub, "pubsub")
            nursery.start_soon(_watch, router, "router")
            ready()
            await stop.wait()
            nursery.cancel_scope.cancel()

    def listen_addresses(self) -> list[Multiaddr]:
        """The addresses really bound, with their ports."""
        return [a for listener in self.swarm.listeners.values() for a in listener.get_addrs()]

    async def subscribe(self, topic: str, validator: Validator) -> None:
        """Join a topic; its messages go to `Events.on_message`."""
        self.pubsub.set_validator(topic, validator)
        subscription = await self.pubsub.subscribe(topic)
        assert self._nursery is not None

        async def pump() -> None:
            while True:
                message = await subscription.get()
                self._events.on_message(topic, str(ID(message.from_id)), message.data)

        self._nursery.start_soon(pump)

    async def publish(self, topic: str, data: bytes) -> None:
        """Sign and gossip; delivered to nobody when no peer is subscribed."""
        await self.pubsub.publish(topic, data)

    async def serve(
        self, protocol: str, handler: Handler, max_request: int, max_reply: int
    ) -> None:
        """Answer requests of a protocol."""
        self.exchange.serve(protocol, handler, max_request, max_reply)

    async def connect(self, address: Multiaddr, timeout_s: float) -> None:
        """Dial a peer unless connected already; raises PeerUnreachable."""
        info = info_from_p2p_addr(address)
        try:
            with trio.fail_after(timeout_s):
                await self._connect(info)
        except Exception as exc:
            raise PeerUnreachable(
                f"cannot connect to {address}", "check that the node is up and the address right"
            ) from exc

    async def _connect(self, info: PeerInfo) -> None:
        self.swarm.peerstore.add_addrs(info.peer_id, info.addrs, ADDRESS_TTL_S)
        await self._dial(info.peer_id)

    async def keep(self, address: Multiaddr, until: float) -> None:
        """Dial this peer again whenever the connection is lost, until a trio time."""
        info = info_from_p2p_addr(address)
        self._kept[str(info.peer_id)] = (info, until)
        self._wake.set()

    async def disconnect(self, peer: str) -> None:
        """Close all connections to a peer, and let it go."""
        self._kept.pop(peer, None)
        await hardening.disconnect(self.swarm, ID.from_string(peer))

    async def subscribers(self, topic: str) -> list[str]:
        """The connected peers known to be subscribed to a topic and reachable by gossip."""
        members = self.pubsub.peer_topics.get(topic, set())
        return [str(p) for p in members if p in self.pubsub.peers]

    async def _keep_connected(self) -> None:
        delays: dict[str, tuple[float, float]] = {}
        while True:
            now = trio.current_time()
            self._kept = {p: kept for p, kept in self._kept.items() if kept[1] > now}
            delays = {p: d for p, d in delays.items() if p in self._kept}
            async with trio.open_nursery() as dials:
                for peer, (info, _) in list(self._kept.items()):
                    delay, due = delays.get(peer, (self._settings.reconnect_s, 0.0))
                    if self.swarm.connections.get(info.peer_id):
                        delays.pop(peer, None)
                    elif due <= now:
                        dials.start_soon(self._redial, info)
                        delays[peer] = (min(delay * 2, self._settings.reconnect_max_s), now + delay)
            self._wake = trio.Event()
            with trio.move_on_after(self._settings.reconnect_s):
                await self._wake.wait()

    async def _redial(self, info: PeerInfo) -> None:
        try:
            with trio.fail_after(self._settings.dial_s):
                self.swarm._negative_peer_cache.evict(str(info.peer_id))
                await self._connect(info)
            if str(info.peer_id) not in self._kept:  # let go while it was dialled
                await hardening.disconnect(self.swarm, info.peer_id)
        except Exception as exc:
            log.debug("redial_failed", peer=str(info.peer_id), error=repr(exc)[:200])

    async def _cut_off(self, peer_id: ID) -> None:
        # Not from the stream's own task: closing its connection would wait for itself.
        if self._nursery is not None:
            self._nursery.start_soon(hardening.disconnect, self.swarm, peer_id)


class _Notifee(INotifee):
    """Connections coming and going, as libp2p tells them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    async def connected(self, _network: INetwork, conn: INetConn) -> None:
        peer_id = conn.muxed_conn.peer_id
        if len(self._stack.swarm.connections.get(peer_id, [])) == 1:
            self._stack._events.on_connected(str(peer_id))

    async def disconnected(self, _network: INetwork, conn: INetConn) -> None:
        peer_id = conn.muxed_conn.peer_id
        if not self._stack.swarm.connections.get(peer_id):
            self._stack._events.on_disconnected(str(peer_id))
            self._stack._wake.set()

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None: ...

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None: ...


async def _watch(manager: object, name: str) -> None:
    await manager.wait_finished()  # type: ignore[attr-defined]
    raise RuntimeError(f"libp2p's {name} ended by itself")


def _make_host(key_pair: KeyPair, settings: P2PSettings) -> BasicHost:
    host = new_host(
        key_pair=key_pair,
        # Noise alone: the defaults also take TLS, SECIO and plaintext.
        sec_opt={NOISE_ID: NoiseTransport(key_pair, noise_privkey=create_noise_key().private_key)},
        muxer_preference="YAMUX",
        negotiate_timeout=int(settings.handshake_s),
        connection_config=_connection_config(settings),
        resource_manager=_resource_manager(settings),
        disable_identify_address_discovery=True,
    )
    assert isinstance(host, BasicHost)
    return host


def _connection_config(settings: P2PSettings) -> ConnectionConfig:
    return ConnectionConfig(
        max_connections=settings.max_connections,
        min_connections=0,
        low_watermark=0,
        high_watermark=settings.max_connections,
        max_connections_per_peer=settings.max_connections_per_peer,
        dial_timeout=settings.dial_s,
        inbound_upgrade_timeout=settings.handshake_s,
        outbound_upgrade_timeout=settings.handshake_s,
        inbound_stream_protocol_negotiation_timeout=settings.handshake_s,
        outbound_stream_protocol_negotiation_timeout=settings.handshake_s,
        enable_health_monitoring=True,
        health_initial_delay=1.0,
        health_warmup_window=0.0,
        health_check_interval=settings.health_interval_s,
        ping_timeout=settings.health_timeout_s,
        abort_connection_on_ping_failure=True,
    )


def _resource_manager(settings: P2PSettings) -> ResourceManager:
    return ResourceManager(
        limits=ResourceLimits(
            max_connections=settings.max_connections + 16,
            max_streams=settings.max_handled_in_all * 4,
        ),
        connection_limits=ConnectionLimits(),
        enable_metrics=False,
        enable_memory_limits=False,
        # Both turn one peer's misbehaviour into a refusal of everybody.
        enable_circuit_breaker=False,
        enable_graceful_degradation=False,
    )
