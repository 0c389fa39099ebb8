"""Envelopes: one signature, one type, one sender."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.wallet.envelope import (
    MAX_PAYLOAD_BYTES,
    BadEnvelope,
    open_envelope,
    parse_envelope,
    seal,
    signed_digest,
)
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2 as pb

KEY = NodeKey.from_bytes(b"\x07" * 32)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_round_trip(job_id: bytes, round_: int) -> None:
    loss = pb.Loss(job_id=job_id, round=round_)
    envelope = parse_envelope(seal(KEY, loss).SerializeToString())
    assert open_envelope(envelope, pb.Loss) == (KEY.address, loss)


def test_the_digest_is_the_documented_one() -> None:
    from eth_utils.crypto import keccak

    assert signed_digest("Bid", b"abc") == keccak(b"reelmesh/v1/Bid\nabc")


def test_another_type_is_refused_even_if_relabelled() -> None:
    envelope = seal(KEY, pb.OpenCallsRequest(limit=3))
    with pytest.raises(BadEnvelope, match="expected a Loss"):
        open_envelope(envelope, pb.Loss)
    envelope.type = "Loss"
    try:
        sender, _ = open_envelope(envelope, pb.Loss)
    except BadEnvelope:
        return
    assert sender != KEY.address  # the signature no longer speaks for the key


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_never_passes_as_the_sender(position: int, flip: int) -> None:
    envelope = seal(KEY, pb.Loss(job_id=b"\1" * 32, round=1, issued_at_ms=5))
    payload = bytearray(envelope.payload)
    payload[position % len(payload)] ^= flip
    envelope.payload = bytes(payload)
    try:
        sender, _ = open_envelope(envelope, pb.Loss)
    except BadEnvelope:
        return
    assert sender != KEY.address


def test_payload_that_does_not_parse_is_refused() -> None:
    junk = b"\xff\xff\xff"
    signature = KEY.sign_digest(signed_digest("Loss", junk))
    with pytest.raises(BadEnvelope, match="not a Loss"):
        open_envelope(pb.Envelope(type="Loss", payload=junk, signature=signature), pb.Loss)


def test_size_is_bounded_on_both_sides() -> None:
    big = pb.Loss(job_id=b"x" * (MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(ValueError, match="at most"):
        seal(KEY, big)
    payload = big.SerializeToString()
    signature = KEY.sign_digest(signed_digest("Loss", payload))
    with pytest.raises(BadEnvelope, match="larger than"):
        open_envelope(pb.Envelope(type="Loss", payload=payload, signature=signature), pb.Loss)
