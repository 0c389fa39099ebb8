"""What a stranger may send without taking the host down. Each test ends with the host serving."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair as create_ed25519
from libp2p.host.exceptions import StreamFailure
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed
from p2p_world import (
    MESHSUB,
    QUICK,
    WAIT_S,
    Hostile,
    assert_serves,
    gossip,
    hostile,
    hosts,
    mesh,
    rpc,
    until,
)

from reelmesh.node.p2p.errors import PeerUnreachable, RequestRefused
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.wallet.keys import NodeKey

TOPIC = "/test/topic"


class Target:
    """A host that echoes, fails on demand, and keeps what it hears on a topic."""

    def __init__(self, host: P2PHost) -> None:
        self.host = host
        self.heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        host.serve("/test/echo", self._echo, max_request=1000)
        host.serve("/test/fail", self._fail)
        host.serve("/test/hang", self._hang)
        host.subscribe(TOPIC, self._hear, self._validate)

    async def _echo(self, _peer: str, data: bytes) -> bytes:
        return data

    async def _fail(self, _peer: str, _data: bytes) -> bytes:
        raise RuntimeError("a defect in a handler")

    async def _hang(self, _peer: str, _data: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def _hear(self, origin: str, data: bytes) -> None:
        self.heard.put_nowait((origin, data))
        if data == b"raise in handler":
            raise RuntimeError("a defect in a message handler")

    @staticmethod
    def _validate(_origin: str, data: bytes) -> bool:
        if data == b"raise in validator":
            raise RuntimeError("a defect in a validator")
        return data != b"invalid"


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    async with hosts(1) as [host]:
        yield Target(host)


@pytest.fixture
async def attacker(target: Target) -> AsyncIterator[Hostile]:
    async with hostile(target.host) as peer:
        yield peer


def _count(target: Target, name: str, least: int = 1) -> asyncio.Future[None]:
    metrics = target.host.metrics
    return asyncio.ensure_future(until(lambda: metrics[name] >= least, name))


@pytest.mark.parametrize(
    "frame",
    [
        encode_varint_prefixed(b"\xff" * 50),
        encode_varint_prefixed(b"\x0a\xff\xff\xff\xff\x0f"),
        b"\xff" * 12,  # a length of more than 64 bits
        b"\xff\xff\xff\x7f",  # 256 MB announced
        encode_varint_prefixed(rpc_pb2.RPC(senderRecord=b"junk").SerializeToString()),
        encode_varint_prefixed(
            rpc_pb2.RPC(
                control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID="x")] * 500)
            ).SerializeToString()
        ),
        rpc(*[rpc_pb2.Message(topicIDs=[TOPIC])] * 500),
    ],
    ids=["junk", "cut", "varint", "oversize", "record", "control", "crowded"],
)
async def test_malformed_pubsub_rpc(target: Target, attacker: Hostile, frame: bytes) -> None:
    stream = await attacker.send(MESHSUB, frame)
    assert await attacker.read_to_end(stream) == b""
    assert target.host.metrics["bad_rpc"] == 1
    await assert_serves(target.host)


@pytest.mark.parametrize("what", ["key", "from_id", "signature", "unsigned", "stolen"])
async def test_pubsub_message_with_a_junk_identity(
    target: Target, attacker: Hostile, what: str
) -> None:
    message = gossip(attacker.key, TOPIC, b"forged")
    if what == "key":
        message.from_id = b"\x12\x20" + bytes(32)  # a hashed id: the key field is looked at
        message.key = b"\x08\x63junk"
    elif what == "from_id":
        message.from_id = b"\x00\xff\xff"
    elif what == "signature":
        message.signature = b"\x30" * 70
    elif what == "unsigned":
        message.ClearField("signature")
    else:
        other = gossip(NodeKey.generate(), TOPIC, b"forged")
        message.from_id, message.key = other.from_id, other.key
    stream = await attacker.send(MESHSUB, rpc(message))
    await attacker.write(stream, rpc(gossip(attacker.key, TOPIC, b"good")))
    # The stream lives on, and of the two messages the good one alone is heard.
    assert await asyncio.wait_for(target.heard.get(), WAIT_S) == (attacker.key.peer_id, b"good")
    assert target.heard.empty()
    await assert_serves(target.host)


async def test_raising_validator_and_refused_messages(target: Target, attacker: Hostile) -> None:
    bad = [b"raise in validator", b"invalid"]
    messages = [gossip(attacker.key, TOPIC, data) for data in [*bad, b"good"]]
    await attacker.send(MESHSUB, rpc(*messages))
    assert await asyncio.wait_for(target.heard.get(), WAIT_S) == (attacker.key.peer_id, b"good")
    assert target.heard.empty()
    assert target.host.metrics["invalid_gossip"] == 2
    await assert_serves(target.host)


async def test_raising_message_handler(target: Target, attacker: Hostile) -> None:
    await attacker.send(MESHSUB, rpc(gossip(attacker.key, TOPIC, b"raise in handler")))
    await attacker.send(MESHSUB, rpc(gossip(attacker.key, TOPIC, b"good")))
    await target.heard.get()
    assert (await asyncio.wait_for(target.heard.get(), WAIT_S))[1] == b"good"
    assert target.host.metrics["handler_errors"] == 1
    await assert_serves(target.host)


async def test_raising_request_handler_resets_that_stream_alone(
    target: Target, attacker: Hostile
) -> None:
    stream = await attacker.send("/test/fail", encode_varint_prefixed(b"x"))
    assert await attacker.read_to_end(stream) == b""
    async with hosts(1) as [friend]:
        await friend.connect(target.host.addrs[0])
        with pytest.raises(RequestRefused):
            await friend.request(target.host.peer_id, "/test/fail", b"x")
        with pytest.raises(RequestRefused):
            await friend.request(target.host.peer_id, "/test/nobody-serves-this", b"x")
    await assert_serves(target.host)


async def test_raising_stream_handler_of_libp2p_itself(target: Target, attacker: Hostile) -> None:
    """A handler set on libp2p's host directly, past our own request layer."""

    async def broken(_stream: object) -> None:
        raise ZeroDivisionError

    stack = target.host._stack
    assert stack is not None
    stack.host.set_stream_handler("/test/broken", broken)  # type: ignore[arg-type]
    with suppress(StreamFailure):  # reset so soon that opening it fails
        assert await attacker.read_to_end(await attacker.open("/test/broken")) == b""
    await _count(target, "handler_errors")
    await assert_serves(target.host)


async def test_oversize_request(target: Target, attacker: Hostile) -> None:
    stream = await attacker.send("/test/echo", encode_varint_prefixed(b"x" * 1001))
    assert await attacker.read_to_end(stream) == b""
    assert target.host.metrics["requests_refused"] == 1
    await assert_serves(target.host)


@pytest.mark.parametrize("sent", [b"", b"\x80", b"\x20half a req"], ids=["nothing", "bit", "half"])
async def test_slow_loris_request_is_cut_off(
    target: Target, attacker: Hostile, sent: bytes
) -> None:
    stream = await attacker.open("/test/echo")
    if sent:
        await attacker.write(stream, sent)
    assert await attacker.read_to_end(stream) == b""
    assert target.host.metrics["requests_refused"] == 1
    await assert_serves(target.host)


async def test_hanging_handler_is_given_up(target: Target, attacker: Hostile) -> None:
    stream = await attacker.send("/test/hang", encode_varint_prefixed(b"x"))
    assert await attacker.read_to_end(stream) == b""
    await assert_serves(target.host)


async def test_half_open_streams_are_reclaimed(target: Target, attacker: Hostile) -> None:
    """A peer that takes the answer but never closes its half leaves nothing behind."""
    stack = target.host._stack
    assert stack is not None
    await target.host.wait_connected(attacker.key.peer_id)
    [[connection]] = stack.swarm.connections.values()
    kept = connection.muxed_conn.streams  # type: ignore[attr-defined]
    # Its own streams have odd numbers: it dialled.
    before = {number for number in kept if number % 2}
    streams = [await attacker.send("/test/echo", encode_varint_prefixed(b"x")) for _ in range(10)]
    for stream in streams:
        assert await attacker.read_to_end(stream) == b"\x01x"

    await until(lambda: not {n for n in kept if n % 2} - before, "the streams to be gone")
    await assert_serves(target.host)


async def test_gossip_flood_is_dropped_then_banned(target: Target, attacker: Hostile) -> None:
    messages = [gossip(attacker.key, TOPIC, b"x") for _ in range(40)]
    stream = await attacker.open(MESHSUB)
    await attacker.pour(stream, b"".join(rpc(m) for m in messages) * 10)
    await attacker.wait_cut_off()
    metrics = target.host.metrics
    assert metrics["flooders_banned"] == 1
    assert metrics["gossip_dropped"] > 0
    assert target.heard.qsize() <= QUICK.gossip_burst + 40
    await assert_serves(target.host)


async def test_request_flood_of_one_peer_does_not_starve_another(
    target: Target, attacker: Hostile
) -> None:
    for _ in range(int(QUICK.request_burst) + 20):
        with suppress(Exception):  # refused while negotiating is as good
            await attacker.open("/test/echo")
    await _count(target, "requests_refused")
    await assert_serves(target.host)


async def test_connections_from_one_address_are_bounded_and_come_free_again() -> None:
    async with hosts(1, max_connections_per_ip=4) as [host]:
        target = Target(host)
        _, _, _, _, port, _, _ = host.addrs[0].split("/")
        sockets = [await asyncio.open_connection("127.0.0.1", int(port)) for _ in range(8)]
        await _count(target, "connections_refused", 4)
        # The four that were let in say nothing: the handshake's time limit closes them.
        for reader, writer in sockets:
            await asyncio.wait_for(reader.read(), WAIT_S)
            writer.close()
        # Slots of ended connections are free: more peers come and go than there are slots.
        for _ in range(6):
            async with hosts(1) as [friend]:
                await friend.connect(host.addrs[0])
                assert await friend.request(host.peer_id, "/test/echo", b"x") == b"x"
            await until(lambda: not host.peers(), "the friend to be gone")


@pytest.mark.parametrize(
    "junk",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 4096, b"\x13/multistream/1.0.0\n" * 100, b"\xff" * 65536],
    ids=["http", "zeros", "multistream", "ones"],
)
async def test_tcp_junk(target: Target, junk: bytes) -> None:
    port = int(target.host.addrs[0].split("/")[4])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(junk)
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()
    await assert_serves(target.host)


_YAMUX = struct.Struct("!BBHII")


@pytest.mark.parametrize(
    "frame",
    [
        _YAMUX.pack(7, 9, 0xFFFF, 1, 2),
        _YAMUX.pack(0, 0, 1, 4001, 2**32 - 1),
        _YAMUX.pack(0, 0, 1, 4001, 8) + b"too short to be"[:3],
        _YAMUX.pack(0, 1, 8, 999, 0),
        _YAMUX.pack(0, 3, 0, 0, 77),
        _YAMUX.pack(0, 1, 1, 4001, 2**32 - 1) * 3,
        b"".join(_YAMUX.pack(0, 0, 0, 999, 0) for _ in range(200)),
        b"\x00" * 7,
    ],
    ids=["nonsense", "huge", "short", "rst", "goaway", "window", "nostream", "partial"],
)
async def test_yamux_junk(target: Target, attacker: Hostile, frame: bytes) -> None:
    await attacker.yamux(frame)
    await assert_serves(target.host)


async def test_peer_that_ignores_flow_control_is_cut_off(target: Target, attacker: Hostile) -> None:
    """Bytes that nobody reads, past the window: libp2p would take them until memory is full."""
    stream = await attacker.send("/test/hang", encode_varint_prefixed(b"x"))
    number = stream.muxed_stream.stream_id  # type: ignore[attr-defined]
    chunk = _YAMUX.pack(0, 0, 0, number, 1 << 20) + bytes(1 << 20)
    with suppress(Exception):  # however the cut-off shows
        for _ in range(40):
            await attacker.yamux(chunk)
    await attacker.wait_cut_off()
    assert target.host.metrics["buffers_overrun"] == 1
    await assert_serves(target.host)


async def test_stream_hoarder_gets_no_more_than_its_share(
    target: Target, attacker: Hostile
) -> None:
    most, extra = QUICK.max_handled_per_peer, 150
    await attacker.yamux(
        b"".join(_YAMUX.pack(0, 1, 1, 9001 + 2 * i, 0) for i in range(most + extra))
    )
    await _count(target, "streams_refused", extra)
    await assert_serves(target.host)


async def test_banned_peer_is_refused_on_return(target: Target, attacker: Hostile) -> None:
    stack = target.host._stack
    assert stack is not None
    stack._bans.add(attacker.key.peer_id)
    again = Hostile(attacker.key)
    await again.start()
    try:
        with suppress(Exception):  # refused at once is as good
            await again.connect(target.host)
        await again.wait_cut_off()
    finally:
        await again.stop()


@pytest.mark.parametrize("offer", ["plaintext", "tls", "secio"])
async def test_only_noise_is_spoken(target: Target, offer: str) -> None:
    """Everything else that libp2p could secure a connection with is refused."""
    protocol = {"plaintext": "/plaintext/2.0.0", "tls": "/tls/1.0.0", "secio": "/secio/1.0.0"}
    port = int(target.host.addrs[0].split("/")[4])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for line in ("/multistream/1.0.0", protocol[offer]):
            writer.write(encode_varint_prefixed(f"{line}\n".encode()))
        answers = b""
        while b"na\n" not in answers:
            chunk = await asyncio.wait_for(reader.read(100), WAIT_S)
            assert chunk, f"closed after {answers!r}"
            answers += chunk
        writer.write(encode_varint_prefixed(b"/noise\n"))
        while b"/noise\n" not in answers:
            chunk = await asyncio.wait_for(reader.read(100), WAIT_S)
            assert chunk
            answers += chunk
        assert protocol[offer].encode() not in answers
    finally:
        writer.close()


async def test_peer_without_an_account_is_cut_off(target: Target) -> None:
    """An Ed25519 peer is sound libp2p, but no account follows from its id."""
    peer = Hostile(pair=create_ed25519())
    await peer.start()
    try:
        with suppress(Exception):  # cut off while it still connects
            await peer.connect(target.host)
        await peer.wait_cut_off()
    finally:
        await peer.stop()
    await assert_serves(target.host)


async def test_dialling_the_wrong_peer_id_fails(target: Target) -> None:
    other = NodeKey.generate().peer_id
    wrong = target.host.addrs[0].replace(target.host.peer_id, other)
    async with hosts(1) as [friend]:
        with pytest.raises(PeerUnreachable):
            await friend.connect(wrong)
        assert friend.peers() == []


async def test_two_honest_hosts_meet_while_an_attacker_is_connected(
    target: Target, attacker: Hostile
) -> None:
    await attacker.send(MESHSUB, encode_varint_prefixed(b"\xff" * 50))
    async with hosts(1) as [friend]:
        Target(friend)
        await mesh(friend, target.host, TOPIC)
        await friend.publish(TOPIC, b"good")
        assert (await asyncio.wait_for(target.heard.get(), WAIT_S))[1] == b"good"
