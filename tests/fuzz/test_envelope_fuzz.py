"""Envelopes: no bytes but the signer's own pass as the signer's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reelmesh.errors import PeerError
from reelmesh.node.wallet.envelope import open_envelope, parse_envelope, seal
from reelmesh.node.wallet.keys import NodeKey, recover_signer
from reelmesh.proto import market_pb2 as pb

KEY = NodeKey.from_bytes(b"\x42" * 32)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_somebody_elses(data: bytes) -> None:
    try:
        sender, _ = open_envelope(parse_envelope(data), pb.Loss)
    except PeerError:
        return
    assert sender != KEY.address


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80))
def test_random_signatures_recover_nobody_we_know(digest: bytes, signature: bytes) -> None:
    try:
        signer = recover_signer(digest, signature)
    except PeerError:
        return
    assert signer != KEY.address


@given(st.integers(0, 519), st.binary(min_size=32, max_size=32))
def test_one_flipped_bit_of_the_signature_never_passes(bit: int, job: bytes) -> None:
    envelope = seal(KEY, pb.Loss(job_id=job))
    spoiled = bytearray(envelope.signature)
    spoiled[bit // 8] ^= 1 << bit % 8
    envelope.signature = bytes(spoiled)
    try:
        sender, _ = open_envelope(envelope, pb.Loss)
    except PeerError:
        return
    assert sender != KEY.address
