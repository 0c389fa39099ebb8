"""Hosts, market nodes and a hostile peer for the libp2p tests, all with bounded waits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from reelmesh.node.p2p.bridge import TrioBridge
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.p2p.network import MarketNetwork
from reelmesh.node.p2p.settings import P2PSettings
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2 as pb

WAIT_S = 20.0
QUICK = P2PSettings(
    read_s=1.0,
    handle_s=2.0,
    handshake_s=2.0,
    dial_s=4.0,
    health_interval_s=0.3,
    health_timeout_s=2.0,
    reconnect_s=0.1,
    restart_s=0.05,
)
MESHSUB = "/meshsub/1.2.0"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until something outside this loop's reach is so; bounded."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S} s in vain for {what}")
        await asyncio.sleep(0.01)


@asynccontextmanager
async def hosts(
    count: int, settings: P2PSettings = QUICK, **changes: float
) -> AsyncIterator[list[P2PHost]]:
    """Started hosts on the loopback, none connected."""
    made = [
        P2PHost(NodeKey.generate(), settings=replace(settings, **changes)) for _ in range(count)
    ]
    try:
        await asyncio.gather(*(host.start() for host in made))
        yield made
    finally:
        await asyncio.gather(*(host.stop() for host in made))


async def mesh(host: P2PHost, other: P2PHost, topic: str) -> None:
    """Connect two hosts and wait until gossip on a topic goes both ways."""
    await host.connect(other.addrs[0])
    for a, b in ((host, other), (other, host)):
        deadline = time.monotonic() + WAIT_S
        while b.peer_id not in await a.subscribers(topic):
            assert time.monotonic() < deadline, "no mesh"
            await asyncio.sleep(0.01)


async def assert_serves(host: P2PHost) -> None:
    """The host still takes a new peer, a request and a gossip message, without a restart."""
    assert host.is_up
    assert host.metrics["restarts"] == 0
    async with hosts(1) as [friend]:
        await friend.connect(host.addrs[0])
        assert await friend.request(host.peer_id, "/test/echo", b"still there") == b"still there"


class Node:
    """A market node: host, network, and queues of what it heard."""

    def __init__(self, bootstrap: list[str] | None = None, settings: P2PSettings = QUICK) -> None:
        self.key = NodeKey.generate()
        self.host = P2PHost(self.key, bootstrap=bootstrap or [], settings=settings)
        self.network = MarketNetwork(self.host, self.key)
        self.ads: asyncio.Queue[tuple[str, pb.CapacityAd]] = asyncio.Queue()
        self.calls: asyncio.Queue[tuple[str, pb.Call, str]] = asyncio.Queue()

        async def on_ad(sender: str, ad: pb.CapacityAd) -> None:
            self.ads.put_nowait((sender, ad))

        async def on_call(sender: str, call: pb.Call, via: str) -> None:
            self.calls.put_nowait((sender, call, via))

        self.network.on_ad(on_ad)
        self.network.on_call(on_call)


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Node]]:
    made = [Node() for _ in range(count)]
    try:
        await asyncio.gather(*(node.host.start() for node in made))
        yield made
    finally:
        await asyncio.gather(*(node.host.stop() for node in made))


class Hostile:
    """A bare py-libp2p peer, nothing hardened, that writes whatever it is told to."""

    def __init__(self, key: NodeKey | None = None, pair: KeyPair | None = None) -> None:
        self.key = key or NodeKey.generate()
        self._pair = pair or self.key.libp2p_key_pair()
        self._bridge = TrioBridge("hostile")
        self._target: ID | None = None

    async def start(self) -> None:
        async def body(ready: Callable[[], None], stop: trio.Event) -> None:
            self._host = new_host(key_pair=self._pair)
            async with self._host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
                ready()
                await stop.wait()

        await self._bridge.start(body)

    async def stop(self) -> None:
        await self._bridge.stop()

    async def connect(self, host: P2PHost) -> None:
        info = info_from_p2p_addr(Multiaddr(host.addrs[0]))
        self._target = info.peer_id
        await self._bridge.call(self._host.connect, info)

    async def open(self, protocol: str) -> INetStream:
        assert self._target is not None
        return await self._bridge.call(self._host.new_stream, self._target, [TProtocol(protocol)])

    async def write(self, stream: INetStream, data: bytes) -> None:
        await self._bridge.call(stream.write, data)

    async def send(self, protocol: str, data: bytes) -> INetStream:
        stream = await self.open(protocol)
        await self.write(stream, data)
        return stream

    async def pour(self, stream: INetStream, data: bytes) -> None:
        """Write the same again and again, until the other side has enough; bounded."""

        async def write() -> None:
            with suppress(Exception), trio.move_on_after(WAIT_S):
                while True:
                    await stream.write(data)

        await self._bridge.call(write)

    async def read_to_end(self, stream: INetStream) -> bytes:
        """What comes until the other side closes or resets the stream."""

        async def read() -> bytes:
            got = b""
            with suppress(Exception):
                while chunk := await stream.read(4096):
                    got += chunk
            return got

        return await asyncio.wait_for(self._bridge.call(read), WAIT_S)

    async def yamux(self, frame: bytes) -> None:
        """Write raw bytes below the streams, inside the encrypted connection."""

        async def write() -> None:
            assert self._target is not None
            [connection, *_] = self._host.get_network().connections[self._target]
            await connection.muxed_conn._write_frame(frame)

        await self._bridge.call(write)

    async def connected(self) -> bool:
        async def look() -> bool:
            assert self._target is not None
            return bool(self._host.get_network().connections.get(self._target))

        return await self._bridge.call(look)

    async def wait_cut_off(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while await self.connected():
            assert time.monotonic() < deadline, "still connected"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def hostile(target: P2PHost) -> AsyncIterator[Hostile]:
    peer = Hostile()
    await peer.start()
    try:
        await peer.connect(target)
        yield peer
    finally:
        await peer.stop()


def rpc(*messages: rpc_pb2.Message) -> bytes:
    return encode_varint_prefixed(rpc_pb2.RPC(publish=messages).SerializeToString())


def gossip(key: NodeKey, topic: str, data: bytes, seqno: int | None = None) -> rpc_pb2.Message:
    """A properly signed pubsub message."""
    pair = key.libp2p_key_pair()
    number = seqno if seqno is not None else int.from_bytes(os.urandom(7), "big")
    message = rpc_pb2.Message(
        data=data,
        topicIDs=[topic],
        from_id=ID.from_base58(key.peer_id).to_bytes(),
        seqno=number.to_bytes(8, "big"),
    )
    message.signature = pair.private_key.sign(b"libp2p-pubsub:" + message.SerializeToString())
    message.key = pair.public_key.serialize()
    return message


def make_call(key: NodeKey, addr: str, **changes: object) -> pb.Call:
    now = now_ms()
    fields: dict[str, object] = {
        "job_id": os.urandom(32),
        "chain_id": 31337,
        "market": b"\x11" * 20,
        "round": 0,
        "plan_hash": b"\x22" * 32,
        "subtasks": [
            pb.SubtaskOffer(id="upscale-0", stage="upscale", stage_version=1, units=2, reserve="99")
        ],
        "coordinator_peer": addr,
        "issued_at_ms": now,
        "closes_at_ms": now + 60_000,
        "deadline_ms": now + 600_000,
    }
    return pb.Call(**(fields | changes))  # type: ignore[arg-type]


def make_ad(**changes: object) -> pb.CapacityAd:
    now = now_ms()
    fields: dict[str, object] = {
        "chain_market": b"\x11" * 20,
        "chain_id": 31337,
        "device_class": "cpu-x86_64",
        "slots": 1,
        "memory_mb": 2000,
        "rates": [
            pb.Rate(stage="upscale", stage_version=1, seconds_per_unit=0.5, price_per_unit="7")
        ],
        "issued_at_ms": now,
        "expires_at_ms": now + 60_000,
        "accepting": True,
    }
    return pb.CapacityAd(**(fields | changes))  # type: ignore[arg-type]


def make_bid(job_id: bytes, **changes: object) -> pb.Bid:
    now = now_ms()
    fields: dict[str, object] = {
        "job_id": job_id,
        "round": 0,
        "stages": [
            pb.StageBid(stage="upscale", stage_version=1, price_per_unit="5", seconds_per_unit=1.0)
        ],
        "declined": ["skeleton: busy"],
        "slots": 1,
        "memory_mb": 2000,
        "uplink_mbps": 100.0,
        "certificate_der": b"cert",
        "device_class": "cpu-x86_64",
        "issued_at_ms": now,
        "expires_at_ms": now + 60_000,
        "nonce": os.urandom(16),
    }
    return pb.Bid(**(fields | changes))  # type: ignore[arg-type]


def make_award(job_id: bytes, provider: NodeKey, **changes: object) -> pb.Award:
    now = now_ms()
    fields: dict[str, object] = {
        "job_id": job_id,
        "provider": bytes.fromhex(provider.address[2:]),
        "subtasks": [pb.AwardedSubtask(id="upscale-0", price="5")],
        "cap": "5",
        "awards_root": b"\x33" * 32,
        "awards_sum": "5",
        "terms": pb.Terms(
            buyer=b"\1" * 20,
            coordinator=b"\2" * 20,
            asset=bytes(20),
            budget="10",
            spec_hash=b"\4" * 32,
        ),
        "award_tx": "0x" + "ab" * 32,
        "grpc_target": "127.0.0.1:1",
        "coordinator_certificate_der": b"cert",
        "issued_at_ms": now,
        "expires_at_ms": now + 60_000,
    }
    return pb.Award(**(fields | changes))  # type: ignore[arg-type]


def make_loss(job_id: bytes, **changes: object) -> pb.Loss:
    fields: dict[str, object] = {
        "job_id": job_id,
        "subtasks": [pb.LostSubtask(id="upscale-0", reason="outbid", winning_price="4")],
        "issued_at_ms": now_ms(),
    }
    return pb.Loss(**(fields | changes))  # type: ignore[arg-type]
