"""The asyncio face of libp2p: a host that is supervised and starts again by itself.

libp2p lives on trio in a thread of its own (`TrioBridge`, `Stack`). What is asked of a `P2PHost`
here, its subscriptions, protocols and known peers, is remembered, so that after a crash a new stack
takes over on the same port with all of it in place.
"""

# ruff: noqa: BLE001 - handlers and restarts may raise anything; the host goes on
from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
import trio
from multiaddr import Multiaddr

from reelmesh.node.p2p.addresses import (
    check_port_free,
    dialable,
    parse_listen_address,
    parse_peer_address,
)
from reelmesh.node.p2p.bridge import TrioBridge
from reelmesh.node.p2p.errors import HostDown, MessageTooLarge
from reelmesh.node.p2p.metrics import Metrics
from reelmesh.node.p2p.settings import P2PSettings
from reelmesh.node.wallet.keys import NodeKey

if TYPE_CHECKING:
    from reelmesh.node.p2p.stack import Stack

log = structlog.stdlib.get_logger(__name__)

MessageHandler = Callable[[str, bytes], Awaitable[None]]
"""(peer id of the origin, payload), on the asyncio loop."""
RequestHandler = Callable[[str, bytes], Awaitable[bytes]]
"""(peer id of the asker, request) → reply, on the asyncio loop."""
Validator = Callable[[str, bytes], bool]
"""(peer id of the origin, payload) → keep and forward? On libp2p's thread: pure and quick."""

STEADY_AFTER_S: Final = 60.0
FOREVER_S: Final = 10 * 365 * 86400.0


@dataclass(frozen=True)
class _Protocol:
    handler: RequestHandler
    max_request: int
    max_reply: int


class _Topic:
    """One subscription: a bounded queue between libp2p's thread and the handler's task."""

    def __init__(self, handler: MessageHandler, validator: Validator, size: int) -> None:
        self.handler, self.validator = handler, validator
        self.queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(size)
        self.task: asyncio.Task[None] | None = None


class P2PHost:
    """A libp2p host whose identity is a node key.

    Args:
        key: Identity; the peer id embeds its public key, so the account follows from it.
        listen: Multiaddrs to listen on; port 0 takes a free one, kept over restarts of the host.
            May be empty for a node that only dials out.
        bootstrap: Full multiaddrs (…/p2p/…) of peers to stay connected to.
        settings: Bounds; the defaults are meant for use.

    Attributes:
        metrics: What was refused and why.
        on_crash: Called with the exception each time libp2p ended and is to be started again.
        on_peer: Called with a peer id when a first connection to it is up.
    """

    def __init__(
        self,
        key: NodeKey,
        listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",),
        bootstrap: Sequence[str] = (),
        settings: P2PSettings | None = None,
    ) -> None:
        self._key = key
        self._listen = [parse_listen_address(text) for text in listen]
        self._settings = settings or P2PSettings()
        self._kept = {str(_full(text)): FOREVER_S + time.monotonic() for text in bootstrap}
        self._topics: dict[str, _Topic] = {}
        self._protocols: dict[str, _Protocol] = {}
        self._bridge: TrioBridge | None = None
        self._stack: Stack | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._peer_events: dict[str, asyncio.Event] = {}
        self._connected: set[str] = set()
        self.metrics = Metrics()
        self._periodic: list[tuple[float, Callable[[], Awaitable[None]]]] = []
        self.on_crash: list[Callable[[BaseException], None]] = []
        self.on_peer: list[Callable[[str], object]] = []

    @property
    def peer_id(self) -> str:
        """This node's base58 peer id."""
        return self._key.peer_id

    @property
    def addrs(self) -> list[str]:
        """Full multiaddrs with /p2p/…, once started; the one that others should dial first.

        0.0.0.0 stands for this machine's address on its default route, then for the loopback.
        """
        return [f"{a}/p2p/{self.peer_id}" for listen in self._listen for a in dialable(listen)]

    @property
    def is_up(self) -> bool:
        """Whether libp2p is running now (not stopped, not between a crash and the restart)."""
        return self._up.is_set()

    async def start(self) -> None:
        """Listen, then keep libp2p running until `stop`.

        Raises ListenFailed when an address cannot be bound.
        """
        if self._supervisor is not None:
            raise RuntimeError("a P2PHost is started once")
        for address in self._listen:
            if address.value_for_protocol("tcp") != "0":
                check_port_free(address)
        # py-libp2p takes seconds to import: not on the loop that others wait on.
        await asyncio.to_thread(_import_stack)
        await self._launch()
        self._supervisor = asyncio.create_task(self._supervise(), name="p2p-supervisor")
        for topic, entry in self._topics.items():
            entry.task = entry.task or asyncio.create_task(self._pump(topic, entry))
        for every_s, action in self._periodic:
            self._spawn(self._repeat(every_s, action))
        log.info("p2p_started", peer=self.peer_id, addrs=self.addrs)

    async def stop(self) -> None:
        """Close all connections and end libp2p's thread. Safe to repeat."""
        self._stopping = True
        self._up.clear()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self._bridge is not None and not await self._bridge.stop():
            log.error("p2p_thread_hangs", peer=self.peer_id)
        pumps = [t.task for t in self._topics.values() if t.task is not None]
        for task in [*pumps, *self._tasks]:
            task.cancel()
        await asyncio.gather(*pumps, *self._tasks, return_exceptions=True)
        self._bridge = self._stack = None

    async def connect(self, addr: str, timeout_s: float = 10.0) -> str:
        """Dial a full multiaddr unless connected; returns the peer id.

        Raises BadMultiaddr, PeerUnreachable, HostDown.
        """
        bridge, stack = self._running()
        await bridge.call(stack.connect, _full(addr), timeout_s)
        return parse_peer_address(addr)[1]

    async def keep_connected(self, addr: str, seconds: float = FOREVER_S) -> None:
        """Stay connected to a peer: dial now and after every loss, with back-off, for a while."""
        full = str(_full(addr))
        self._kept.pop(full, None)
        self._kept[full] = time.monotonic() + seconds
        if len(self._kept) > self._settings.max_kept:
            del self._kept[min(self._kept, key=self._kept.__getitem__)]
        bridge, stack = self._running()
        await self._keep(bridge, stack, full)

    async def disconnect(self, peer_id: str) -> None:
        """Close the connections to a peer, and no longer keep it."""
        self._kept = {a: t for a, t in self._kept.items() if not a.endswith(f"/p2p/{peer_id}")}
        bridge, stack = self._running()
        await bridge.call(stack.disconnect, peer_id)

    def peers(self) -> list[str]:
        """Peer ids connected now."""
        return sorted(self._connected)

    async def subscribers(self, topic: str) -> list[str]:
        """Connected peers that gossip on a topic will reach directly."""
        bridge, stack = self._running()
        return await bridge.call(stack.subscribers, topic)

    async def wait_connected(self, peer_id: str, timeout_s: float = 10.0) -> None:
        """Wait until a peer is connected, in either direction; raises TimeoutError."""
        event = self._peer_events.setdefault(peer_id, asyncio.Event())
        if peer_id in self._connected:
            return
        await asyncio.wait_for(event.wait(), timeout_s)

    async def wait_up(self, timeout_s: float = 30.0) -> None:
        """Wait until libp2p runs (again); raises TimeoutError."""
        await asyncio.wait_for(self._up.wait(), timeout_s)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip to whoever is subscribed; raises MessageTooLarge, HostDown."""
        if len(data) > self._settings.max_gossip_bytes:
            raise MessageTooLarge(f"gossip carries at most {self._settings.max_gossip_bytes} bytes")
        bridge, stack = self._running()
        await bridge.call(stack.publish, topic, data)

    def subscribe(
        self, topic: str, handler: MessageHandler, validate: Validator | None = None
    ) -> None:
        """Hear a topic, now or from `start` on. What a slow handler leaves queued is bounded.

        Args:
            handler: Runs on the asyncio loop, one message at a time; may raise (it is logged).
            validate: Refused messages are neither handed on nor forwarded. Runs on libp2p's
                thread; an exception refuses the message.
        """
        if topic in self._topics:
            raise ValueError(f"{topic} has a handler already")
        entry = _Topic(handler, validate or _accept, self._settings.handler_queue)
        self._topics[topic] = entry
        if self._supervisor is not None:
            entry.task = asyncio.create_task(self._pump(topic, entry))
        if self._stack is not None and self._bridge is not None and self._up.is_set():
            self._spawn(self._bridge.call(self._stack.subscribe, topic, entry.validator))

    def serve(
        self,
        protocol: str,
        handler: RequestHandler,
        max_request: int | None = None,
        max_reply: int | None = None,
    ) -> None:
        """Answer requests; a handler that raises resets that stream, no more. Sizes in bytes."""
        if protocol in self._protocols:
            raise ValueError(f"{protocol} has a handler already")
        entry = _Protocol(
            handler,
            max_request or self._settings.max_request_bytes,
            max_reply or self._settings.max_reply_bytes,
        )
        self._protocols[protocol] = entry
        if self._stack is not None and self._bridge is not None and self._up.is_set():
            self._spawn(self._install(self._bridge, self._stack, protocol, entry))

    def every(self, every_s: float, action: Callable[[], Awaitable[None]]) -> None:
        """Run `action` again and again from `start` to `stop`; it may raise (it is logged)."""
        self._periodic.append((every_s, action))
        if self._supervisor is not None:
            self._spawn(self._repeat(every_s, action))

    async def request(
        self,
        peer_id: str,
        protocol: str,
        data: bytes,
        timeout_s: float = 10.0,
        max_reply: int | None = None,
    ) -> bytes:
        """Ask a connected (or known) peer and wait for its reply.

        Raises PeerUnreachable, RequestRefused (stream reset or protocol not served),
        RequestTimedOut, MessageTooLarge (the reply), HostDown.
        """
        bridge, stack = self._running()
        bound = max_reply or self._settings.max_reply_bytes
        return await bridge.call(stack.exchange.request, peer_id, protocol, data, timeout_s, bound)

    # Events of the stack: called on the trio thread.

    def on_message(self, topic: str, origin: str, data: bytes) -> None:
        """Hand a message over to the asyncio loop."""
        if self._bridge is not None:
            self._bridge.tell(self._enqueue, topic, origin, data)

    def on_connected(self, peer: str) -> None:
        """Hand the news over to the asyncio loop."""
        if self._bridge is not None:
            self._bridge.tell(self._note_peer, peer, True)

    def on_disconnected(self, peer: str) -> None:
        """Hand the news over to the asyncio loop."""
        if self._bridge is not None:
            self._bridge.tell(self._note_peer, peer, False)

    def _running(self) -> tuple[TrioBridge, Stack]:
        if self._bridge is None or self._stack is None or not self._up.is_set():
            raise HostDown("the libp2p host is not running", "it restarts by itself; try again")
        return self._bridge, self._stack

    async def _launch(self) -> None:
        """Make a new stack, and put everything in place that was asked for so far."""
        from reelmesh.node.p2p.stack import Stack

        bridge = self._bridge = TrioBridge(f"p2p-{self.peer_id[-6:]}")

        async def body(ready: Callable[[], None], stop: trio.Event) -> None:
            self._stack = Stack(self._key.libp2p_key_pair(), self._settings, self.metrics, self)
            await self._stack.run(self._listen, ready, stop)

        try:
            await bridge.start(body)
            stack = self._stack
            assert stack is not None
            self._listen = stack.listen_addresses()
            for protocol, entry in list(self._protocols.items()):
                await self._install(bridge, stack, protocol, entry)
            for topic, subscription in list(self._topics.items()):
                await bridge.call(stack.subscribe, topic, subscription.validator)
            for address in list(self._kept):
                await self._keep(bridge, stack, address)
        except BaseException:
            await bridge.stop()
            raise
        self._up.set()

    async def _supervise(self) -> None:
        delay, since = self._settings.restart_s, time.monotonic()
        while not self._stopping:
            assert self._bridge is not None
            await asyncio.wait([self._bridge.ended])
            self._up.clear()
            self._connected.clear()
            error = self._bridge.ended.exception() or HostDown("libp2p ended")
            self.metrics.add("restarts")
            log.error("p2p_crashed", peer=self.peer_id, error=repr(error)[:300], restart_in_s=delay)
            for callback in self.on_crash:
                callback(error)
            if time.monotonic() - since > STEADY_AFTER_S:
                delay = self._settings.restart_s
            await asyncio.sleep(delay)
            delay, since = min(delay * 2, self._settings.restart_max_s), time.monotonic()
            try:
                await self._launch()
            except Exception as exc:
                log.warning("p2p_restart_failed", peer=self.peer_id, error=repr(exc)[:300])
            else:
                log.info("p2p_restarted", peer=self.peer_id, addrs=self.addrs)

    async def _install(
        self, bridge: TrioBridge, stack: Stack, protocol: str, entry: _Protocol
    ) -> None:
        async def ask(peer: str, data: bytes) -> bytes:
            return await bridge.ask(_as_coroutine, entry.handler, peer, data)

        await bridge.call(stack.serve, protocol, ask, entry.max_request, entry.max_reply)

    async def _keep(self, bridge: TrioBridge, stack: Stack, address: str) -> None:
        seconds = self._kept[address] - time.monotonic()
        if seconds <= 0:
            del self._kept[address]
            return

        async def keep() -> None:
            await stack.keep(Multiaddr(address), trio.current_time() + seconds)

        await bridge.call(keep)

    def _enqueue(self, topic: str, origin: str, data: bytes) -> None:
        entry = self._topics.get(topic)
        if entry is None:
            return
        try:
            entry.queue.put_nowait((origin, data))
        except asyncio.QueueFull:
            self.metrics.add("gossip_dropped")

    def _note_peer(self, peer: str, up: bool) -> None:
        if not up:
            self._connected.discard(peer)
            self._peer_events.pop(peer, None)
            return
        self._connected.add(peer)
        if (event := self._peer_events.get(peer)) is not None:
            event.set()
        for callback in self.on_peer:
            result = callback(peer)
            if inspect.iscoroutine(result):
                self._spawn(result)

    def _spawn(self, coroutine: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_logged(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repeat(self, every_s: float, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(every_s)
            await _logged(action())

    async def _pump(self, topic: str, entry: _Topic) -> None:
        while True:
            origin, data = await entry.queue.get()
            try:
                await entry.handler(origin, data)
            except Exception as exc:
                self.metrics.add("handler_errors")
                log.warning("message_handler_failed", topic=topic, error=repr(exc)[:200])


async def _logged(coroutine: Awaitable[None]) -> None:
    try:
        await coroutine
    except Exception as exc:
        log.warning("p2p_callback_failed", error=repr(exc)[:200])


async def _as_coroutine(handler: RequestHandler, peer: str, data: bytes) -> bytes:
    return await handler(peer, data)


def _accept(_origin: str, _data: bytes) -> bool:
    return True


def _full(text: str) -> Multiaddr:
    transport, peer = parse_peer_address(text)
    return transport.encapsulate(Multiaddr(f"/p2p/{peer}"))


def _import_stack() -> None:
    import reelmesh.node.p2p.stack  # noqa: F401
