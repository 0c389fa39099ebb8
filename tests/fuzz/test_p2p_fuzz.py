"""Whatever bytes a peer sends, what comes out is a verified message or a typed error."""

from __future__ import annotations

import os
import time

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2

from reelmesh.errors import PeerError
from reelmesh.node.p2p.addresses import parse_peer_address
from reelmesh.node.p2p.errors import BadMultiaddr
from reelmesh.node.p2p.gossip import _BadFrame, _check_frame, _tame_control
from reelmesh.node.p2p.inbox import open_from
from reelmesh.node.wallet.envelope import seal, signed_digest
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2 as pb

KEY = NodeKey.from_bytes(b"\x21" * 32)
TYPES: list[type[Message]] = [pb.CapacityAd, pb.Call, pb.Bid, pb.Award, pb.Loss]
types = st.sampled_from(TYPES)


def _now() -> int:
    return time.time_ns() // 1_000_000


@given(st.binary(max_size=400), types)
def test_random_bytes(data: bytes, expected: type[Message]) -> None:
    with pytest.raises(PeerError):
        open_from(data, expected, _now(), KEY.peer_id)


@given(st.binary(max_size=400), types, st.text(max_size=20))
def test_random_payload_rightly_signed(payload: bytes, expected: type[Message], name: str) -> None:
    """The signature is the attacker's own and good; the message inside is noise."""
    for kind in (expected.DESCRIPTOR.name, name):
        signature = KEY.sign_digest(signed_digest(kind, payload))
        envelope = pb.Envelope(type=kind, payload=payload, signature=signature)
        with pytest.raises(PeerError):
            open_from(envelope.SerializeToString(), expected, _now(), KEY.peer_id)


@given(st.data())
def test_a_good_bid_with_bytes_changed(data: st.DataObject) -> None:
    now = _now()
    bid = pb.Bid(
        job_id=os.urandom(32),
        nonce=os.urandom(16),
        device_class="cpu",
        issued_at_ms=now,
        expires_at_ms=now + 1000,
    )
    raw = bytearray(seal(KEY, bid).SerializeToString())
    assert open_from(bytes(raw), pb.Bid, now, KEY.peer_id).message == bid
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        opened = open_from(bytes(raw), pb.Bid, now, KEY.peer_id)
    except PeerError:
        return
    # Only bytes outside of what is signed (an unknown field, say) may differ, or none in the end.
    assert (opened.sender, opened.message) == (KEY.address, bid)


@given(st.text(max_size=300))
def test_random_addresses(text: str) -> None:
    with pytest.raises(BadMultiaddr):
        parse_peer_address(text)


@given(st.binary(max_size=600))
def test_random_pubsub_frames(data: bytes) -> None:
    try:
        rpc = rpc_pb2.RPC.FromString(data)
    except Exception:
        return
    try:
        _check_frame(rpc, 64)
    except _BadFrame:
        return
    _tame_control(rpc.control, {"/known"})
    assert {entry.topicID for entry in rpc.control.graft} <= {"/known"}
    assert all(not prune.peers for prune in rpc.control.prune)
