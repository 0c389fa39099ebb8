"""What py-libp2p 0.8.1 needs before it may face strangers.

As shipped, an exception in any stream handler, in the handling of any pubsub frame or in any
background task ends the whole host, and a remote peer can cause each of them. Here every such path
is contained: the stream is reset or the connection closed, the fault is counted, the host goes on.
Nothing here changes what is said on the wire to a peer that behaves.

Two leaks are closed as well: the slot of an inbound connection is given back when the connection
ends (the library keeps it until the host stops), and a peer that ignores yamux's flow control is
cut off before its unread bytes fill the memory.
"""

# ruff: noqa: BLE001, SLF001 - containing whatever is raised is what this file is for
from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from libp2p.abc import INetConn, INetStream, IRawConnection
from libp2p.host.basic_host import BasicHost
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamError
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.tools.anyio_service.trio_manager import TrioManager

from reelmesh.node.p2p.limits import Bans, Slots
from reelmesh.node.p2p.metrics import Metrics
from reelmesh.node.p2p.settings import P2PSettings
from reelmesh.node.wallet.keys import BadPeerId, address_of_peer_id

log = structlog.stdlib.get_logger(__name__)

StreamHandler = Callable[[INetStream], Awaitable[None]]
Dial = Callable[[ID], Awaitable[None]]
"""Connect to a peer whose address is known, unless connected; raises SwarmException."""


def peer_of(stream: INetStream) -> str:
    """The base58 peer id at the other end of a stream."""
    return str(stream.muxed_conn.peer_id)


async def reset_quietly(stream: INetStream) -> None:
    """Reset a stream, whatever state it is in."""
    try:
        await stream.reset()
    except Exception as exc:
        log.debug("stream_reset_failed", error=repr(exc)[:200])


def guard_streams(host: BasicHost, settings: P2PSettings, bans: Bans, metrics: Metrics) -> None:
    """Contain every exception of every stream handler, negotiation included, and bound them."""
    inner: StreamHandler = host._swarm_stream_handler
    slots = Slots(settings.max_handled_per_peer, settings.max_handled_in_all)

    async def guarded(stream: INetStream) -> None:
        peer = peer_of(stream)
        if peer in bans or not slots.acquire(peer):
            metrics.add("streams_refused")
            await reset_quietly(stream)
            return
        try:
            await inner(stream)
        except (StreamError, IOException, RawConnError) as exc:
            log.debug("stream_cut_short", peer=peer, error=repr(exc)[:200])
            await reset_quietly(stream)
        except Exception as exc:
            metrics.add("handler_errors")
            log.warning("stream_handler_failed", peer=peer, error=repr(exc)[:200])
            await reset_quietly(stream)
        finally:
            slots.release(peer)

    host.get_network().set_stream_handler(guarded)


def guard_identify(host: BasicHost, metrics: Metrics) -> None:
    """Identify runs as a system task, where an exception would end the whole trio loop."""
    inner = host._identify_task_entry

    async def guarded(peer_id: Any, reason: str) -> None:
        try:
            await inner(peer_id, reason)
        except Exception as exc:
            metrics.add("background_errors")
            log.debug("identify_failed", peer=str(peer_id), error=repr(exc)[:200])

    _replace(host, "_identify_task_entry", guarded)


def guard_tasks(manager: Any, metrics: Metrics) -> None:
    """Contain background tasks of a libp2p service: one that raises ends alone.

    A connection's task takes its connection along. Daemon tasks stay as they are: without them the
    service is of no use, so their failure is the host's, and its supervisor starts it anew.
    """
    assert isinstance(manager, TrioManager)
    inner = manager.run_task

    def run_task(
        async_fn: Any, *args: Any, daemon: bool = False, name: str | None = None, **rest: Any
    ) -> None:
        if daemon:
            inner(async_fn, *args, daemon=True, name=name, **rest)
            return

        async def contained() -> None:
            try:
                await async_fn(*args)
            except Exception as exc:
                metrics.add("background_errors")
                log.warning("libp2p_task_failed", task=repr(async_fn)[:80], error=repr(exc)[:200])
                await _close_owner(async_fn)

        inner(contained, name=name or getattr(async_fn, "__qualname__", "task"), **rest)

    _replace(manager, "run_task", run_task)


def keep_going(owner: Any, method: str, metrics: Metrics) -> None:
    """Make a periodic daemon method start over, a second later, when one of its rounds raises."""
    inner = getattr(owner, method)

    async def forever() -> None:
        while True:
            try:
                await inner()
                return
            except Exception as exc:
                metrics.add("background_errors")
                log.warning("libp2p_daemon_failed", task=method, error=repr(exc)[:200])
                await trio.sleep(1.0)

    _replace(owner, method, forever)


def dial_only_when_asked(swarm: Swarm) -> Dial:
    """Dial nobody unasked; returns what dials a peer whose address is known, unless connected.

    As shipped, every address that any peer ever named is dialled, and whatever opens a stream
    (identify, gossip) dials a peer that is gone, so that one that was let go or banned comes back.
    """
    dial_peer = swarm.dial_peer

    def live(peer_id: ID) -> list[INetConn]:
        return [c for c in swarm.get_connections(peer_id) if not c.is_closed]

    async def stay() -> None:
        return

    async def connected(peer_id: ID) -> list[INetConn]:
        if connections := live(peer_id):
            return connections
        raise SwarmException(f"not connected to {peer_id}")

    async def keep_the_old(_peer_id: ID) -> None:
        return

    async def dial(peer_id: ID) -> None:
        if not live(peer_id):
            await dial_peer(peer_id)

    _replace(swarm.auto_connector, "maybe_connect", stay)
    _replace(swarm, "dial_peer", connected)
    _replace(swarm, "dial_peer_replacement", keep_the_old)
    return dial


def bound_inbound(swarm: Swarm, settings: P2PSettings, bans: Bans, metrics: Metrics) -> None:
    """Bound inbound connections by address, and free their slots when they end."""
    slots = Slots(settings.max_connections_per_ip, settings.max_connections)

    async def handle(raw: Any, listener: Any, _event: Any) -> None:
        remote = raw.get_remote_address()
        address = str(remote[0]) if remote else "?"
        if not slots.acquire(address):
            metrics.add("connections_refused")
            await _close_quietly(raw)
            return
        try:
            await _serve_inbound(swarm, RawConnection(raw, False), listener, bans)
        except Exception as exc:
            log.debug("inbound_connection_failed", address=address, error=repr(exc)[:200])
            await _close_quietly(raw)
        finally:
            slots.release(address)

    _replace(swarm, "_do_handle_inbound_connection", handle)


async def _serve_inbound(swarm: Swarm, raw: IRawConnection, listener: Any, bans: Bans) -> None:
    muxed = await swarm.upgrade_inbound_raw_conn(raw, listener)
    for connection in swarm.connections.get(muxed.peer_id, []):
        if isinstance(connection, SwarmConn) and connection.muxed_conn is muxed:
            if str(muxed.peer_id) in bans or not _has_account(str(muxed.peer_id)):
                await connection.close()
            await connection.event_closed.wait()
            return
    await _close_quietly(raw)


def _has_account(peer: str) -> bool:
    try:
        address_of_peer_id(peer)
    except BadPeerId:
        return False
    return True


async def watch_buffers(
    swarm: Swarm, settings: P2PSettings, bans: Bans, metrics: Metrics, every_s: float = 0.5
) -> None:
    """Forever: cut off connections whose peer sends without leave from yamux's window."""
    while True:
        await trio.sleep(every_s)
        for connections in list(swarm.connections.values()):
            for connection in list(connections):
                if not isinstance(connection, SwarmConn):
                    continue
                buffers = getattr(connection.muxed_conn, "stream_buffers", None)
                if buffers is None or not _overrun(buffers, settings):
                    continue
                peer = str(connection.muxed_conn.peer_id)
                metrics.add("buffers_overrun")
                bans.add(peer)
                log.warning("peer_overran_buffers", peer=peer)
                await _close_quietly(connection)


def _overrun(buffers: dict[int, bytearray], settings: P2PSettings) -> bool:
    if len(buffers) > settings.max_streams_per_connection:
        return True
    sizes = [len(b) for b in buffers.values()]
    return (
        max(sizes, default=0) > settings.max_stream_buffer
        or math.fsum(sizes) > settings.max_connection_buffer
    )


async def disconnect(swarm: Swarm, peer_id: Any) -> None:
    """Close every connection to one peer."""
    for connection in list(swarm.connections.get(peer_id, [])):
        await _close_quietly(connection)


async def close_sockets(swarm: Swarm, within_s: float = 2.0) -> None:
    """Close all connections, at the same time, and all listeners, within a bounded time."""
    with trio.move_on_after(within_s):
        async with trio.open_nursery() as nursery:
            for connections in list(swarm.connections.values()):
                for connection in list(connections):
                    nursery.start_soon(_close_quietly, connection)
            for listener in list(swarm.listeners.values()):
                nursery.start_soon(_close_quietly, listener)


async def _close_owner(async_fn: Any) -> None:
    owner = getattr(async_fn, "__self__", None)
    if isinstance(owner, SwarmConn) or hasattr(owner, "secured_conn"):
        await _close_quietly(owner)


async def _close_quietly(closable: Any) -> None:
    try:
        await closable.close()
    except Exception as exc:
        log.debug("close_failed", error=repr(exc)[:200])


def _replace(owner: object, name: str, value: object) -> None:
    """Shadow a method on one instance; fails loudly if a newer library has renamed it."""
    if not hasattr(owner, name):
        raise AttributeError(f"{type(owner).__name__} has no {name}: hardening does not fit")
    setattr(owner, name, value)
