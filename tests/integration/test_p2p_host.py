"""The host's life: requests, gossip, crash and restart, lost peers, other processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from p2p_world import QUICK, WAIT_S, hosts, mesh, until

from reelmesh.errors import PeerError
from reelmesh.node.p2p.errors import (
    BadMultiaddr,
    HostDown,
    ListenFailed,
    MessageTooLarge,
    PeerUnreachable,
    RequestTimedOut,
)
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.wallet.keys import NodeKey

HERE = Path(__file__).parent


async def _echo(peer: str, data: bytes) -> bytes:
    return peer.encode() + b" " + data


def _sockets() -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor that lists them
            count += "socket" in str(link.readlink())
    return count


def _threads() -> int:
    return sum(thread.name.startswith("p2p-") for thread in threading.enumerate())


async def test_request_and_reply_say_who_asks() -> None:
    async with hosts(2) as [a, b]:
        b.serve("/test/echo", _echo)
        assert await a.connect(b.addrs[0]) == b.peer_id
        assert await a.request(b.peer_id, "/test/echo", b"hi") == f"{a.peer_id} hi".encode()
        assert a.peers() == [b.peer_id]
        await b.wait_connected(a.peer_id)
        big = os.urandom(300_000)
        assert (await a.request(b.peer_id, "/test/echo", big)).endswith(big)


async def test_request_times_out_and_is_cancelled_without_harm() -> None:
    async with hosts(2) as [a, b]:
        entered = asyncio.Event()
        left = asyncio.Event()

        async def hang(_peer: str, _data: bytes) -> bytes:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            return b""

        b.serve("/test/hang", hang)
        b.serve("/test/echo", _echo)
        await a.connect(b.addrs[0])
        with pytest.raises(RequestTimedOut):
            await a.request(b.peer_id, "/test/hang", b"", timeout_s=0.2)
        entered.clear()
        request = asyncio.create_task(a.request(b.peer_id, "/test/hang", b""))
        await asyncio.wait_for(entered.wait(), WAIT_S)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        # The handler is given up by its own time limit, and told so.
        await asyncio.wait_for(left.wait(), WAIT_S)
        assert await a.request(b.peer_id, "/test/echo", b"x")


async def test_oversize_reply_and_message() -> None:
    async with hosts(2) as [a, b]:
        b.serve("/test/echo", _echo)
        await a.connect(b.addrs[0])
        with pytest.raises(MessageTooLarge):
            await a.request(b.peer_id, "/test/echo", b"x" * 500, max_reply=100)
        with pytest.raises(MessageTooLarge):
            await a.publish("/test/topic", b"x" * (QUICK.max_gossip_bytes + 1))


@pytest.mark.parametrize(
    "addr",
    [
        "",
        "nonsense",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/udp/1/quic-v1/p2p/16Uiu2HAm2M1UikV7Jzyh1noZhENjR665CoPxrDa3yp2SSPEoYo9B",
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        "/ip4/127.0.0.1/tcp/1" * 100,
    ],
)
async def test_bad_addresses_are_refused(addr: str) -> None:
    async with hosts(1) as [a]:
        with pytest.raises(BadMultiaddr):
            await a.connect(addr)
    with pytest.raises(BadMultiaddr):
        P2PHost(NodeKey.generate(), bootstrap=[addr])
    with pytest.raises(BadMultiaddr):
        P2PHost(NodeKey.generate(), listen=["/ip4/127.0.0.1/udp/0"])


async def test_port_in_use_is_said_plainly() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenFailed, match="another program has this port"):
            await P2PHost(NodeKey.generate(), listen=[f"/ip4/127.0.0.1/tcp/{port}"]).start()
    async with hosts(1) as [a]:  # and a port that another node of ours listens on
        listen = a.addrs[0].split("/p2p/")[0]
        with pytest.raises(ListenFailed):
            await P2PHost(NodeKey.generate(), listen=[listen]).start()


async def test_unreachable_peer() -> None:
    async with hosts(1) as [a]:
        with pytest.raises(PeerUnreachable):
            await a.connect(f"/ip4/127.0.0.1/tcp/1/p2p/{NodeKey.generate().peer_id}")
        with pytest.raises(PeerUnreachable):
            await a.request(NodeKey.generate().peer_id, "/test/echo", b"", timeout_s=2)


async def test_stop_leaves_no_thread_and_no_socket() -> None:
    before = _sockets()
    async with hosts(3) as [a, b, c]:
        await a.connect(b.addrs[0])
        await b.connect(c.addrs[0])
    await until(lambda: _threads() == 0, "the threads to end")
    assert _sockets() <= before
    with pytest.raises(HostDown):
        await a.publish("/test/topic", b"x")
    await a.stop()  # again: no harm


async def test_what_a_node_publishes_reaches_its_neighbours_outside_the_mesh() -> None:
    async with hosts(3) as [a, *others]:
        heard: asyncio.Queue[str] = asyncio.Queue()
        for host in (a, *others):

            async def hear(_origin: str, _data: bytes, name: str = host.peer_id) -> None:
                heard.put_nowait(name)

            host.subscribe("/test/topic", hear)
        for other in others:
            await mesh(a, other, "/test/topic")
        bridge, stack = a._running()

        async def publish_with_an_empty_mesh() -> None:
            router = stack.pubsub.router
            assert isinstance(router, GossipSub)
            router.mesh["/test/topic"].clear()
            await stack.publish("/test/topic", b"x")

        await bridge.call(publish_with_an_empty_mesh)
        names = {await asyncio.wait_for(heard.get(), WAIT_S) for _ in range(3)}
        assert names == {host.peer_id for host in (a, *others)}


async def _crash(host: P2PHost) -> None:
    """Raise inside libp2p's own nursery, as a defect of libp2p would."""
    bridge, stack = host._running()

    async def boom() -> None:
        raise ZeroDivisionError("a defect in libp2p")

    async def start() -> None:
        assert stack._nursery is not None
        stack._nursery.start_soon(boom)

    with pytest.raises(HostDown):
        await bridge.call(start)
        # Whichever comes first: the call's answer or the crash.
        raise HostDown("crashed")


async def test_crash_restarts_the_host_with_everything_in_place() -> None:
    async with hosts(2) as [a, b]:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def hear(_origin: str, data: bytes) -> None:
            heard.put_nowait(data)

        async def ignore(_origin: str, _data: bytes) -> None:
            return

        a.subscribe("/test/topic", hear)
        b.subscribe("/test/topic", ignore)
        a.serve("/test/echo", _echo)
        b.serve("/test/echo", _echo)
        errors: list[BaseException] = []
        a.on_crash.append(errors.append)
        await a.keep_connected(b.addrs[0])
        await mesh(b, a, "/test/topic")
        addrs = a.addrs
        gone = asyncio.Event()

        async def slow(_peer: str, _data: bytes) -> bytes:
            gone.set()
            await asyncio.Event().wait()
            return b""

        b.serve("/test/slow", slow)
        pending = asyncio.create_task(a.request(b.peer_id, "/test/slow", b""))
        await asyncio.wait_for(gone.wait(), WAIT_S)

        await _crash(a)
        with pytest.raises(PeerError):
            await asyncio.wait_for(pending, WAIT_S)
        await until(lambda: errors, "the crash to show")
        await a.wait_up()

        assert a.metrics["restarts"] == 1
        assert a.addrs == addrs  # the port that others know
        assert isinstance(errors[0], ZeroDivisionError)
        await a.wait_connected(b.peer_id)  # its kept peer, dialled again
        assert await a.request(b.peer_id, "/test/echo", b"x")
        assert await b.request(a.peer_id, "/test/echo", b"x")
        await mesh(b, a, "/test/topic")
        await b.publish("/test/topic", b"after")
        assert await asyncio.wait_for(heard.get(), WAIT_S) == b"after"


async def test_it_restarts_as_often_as_it_crashes() -> None:
    async with hosts(1) as [a]:
        for times in range(1, 4):
            await _crash(a)
            await until(lambda n=times: a.metrics["restarts"] == n, "the restart")  # type: ignore[misc]
            await a.wait_up()


async def test_kept_peer_is_dialled_again_when_it_comes_back() -> None:
    key = NodeKey.generate()
    async with hosts(1) as [a]:
        b = P2PHost(key, settings=QUICK)
        await b.start()
        await a.keep_connected(b.addrs[0])
        await a.wait_connected(b.peer_id)
        listen = b.addrs[0].split("/p2p/")[0]
        await b.stop()
        await until(lambda: not a.peers(), "the peer to be gone")
        again = P2PHost(key, listen=[listen], settings=QUICK)
        await again.start()
        try:
            await a.wait_connected(again.peer_id)
            await a.disconnect(again.peer_id)
            await until(lambda: not a.peers(), "the peer to be let go")
        finally:
            await again.stop()


async def test_a_peer_that_was_let_go_comes_back_only_when_asked() -> None:
    """libp2p's identify and gossip open streams to a new peer, and would dial one that is gone."""
    async with hosts(2) as [a, b]:
        for _ in range(8):  # let go while they are at it
            await a.connect(b.addrs[0])
            await a.wait_connected(b.peer_id)
            await a.disconnect(b.peer_id)
            await until(lambda: not a.peers() and not b.peers(), "the peer to stay away")

        bridge, stack = a._running()
        with pytest.raises(SwarmException, match="not connected"):
            await bridge.call(
                stack.host.new_stream, ID.from_string(b.peer_id), [TProtocol("/test/echo")]
            )
        assert not a.peers()

        b.serve("/test/echo", _echo)
        assert await a.request(b.peer_id, "/test/echo", b"x")  # asked, and its address is known


@asynccontextmanager
async def _child(bootstrap: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "p2p_child.py"),
        bootstrap,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        while True:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            assert line, "the child ended"
            if line.startswith(b"/ip4/"):
                break
        yield process, line.decode().strip().split("/p2p/")[1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_processes_find_each_other_and_a_frozen_or_killed_one_is_noticed() -> None:
    async with hosts(1) as [a]:
        heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

        async def hear(origin: str, data: bytes) -> None:
            heard.put_nowait((origin, data))

        async def ignore(_origin: str, _data: bytes) -> None:
            return

        a.subscribe("/test/back", hear)
        a.subscribe("/test/there", ignore)
        async with _child(a.addrs[0]) as (process, child):
            await a.wait_connected(child, 60)
            assert await a.request(child, "/test/echo", b"x") == f"{a.peer_id} x".encode()
            while child not in await a.subscribers("/test/there"):
                await asyncio.sleep(0.01)
            await a.publish("/test/there", b"you")
            assert await asyncio.wait_for(heard.get(), WAIT_S) == (child, b"heard you")

            process.send_signal(signal.SIGSTOP)
            await until(lambda: child not in a.peers(), "the frozen peer to be noticed")
            process.send_signal(signal.SIGCONT)
            await a.wait_connected(child)  # it dials its bootstrap peer again
            process.kill()
            await until(lambda: child not in a.peers(), "the killed peer to be noticed")
