"""Node keys: signatures that the contracts take, and peer ids that say who signs."""

from __future__ import annotations

import pickle

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_keys import keys as eth_keys
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.wallet.keys import (
    BadKey,
    BadPeerId,
    BadSignature,
    NodeKey,
    address_of_peer_id,
    peer_id_of,
    recover_signer,
)

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = NodeKey.from_bytes(bytes(range(1, 33)))
secrets_ = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))


@given(secrets_, st.binary(max_size=64))
def test_signature_agrees_with_an_independent_implementation(secret: bytes, data: bytes) -> None:
    key, digest = NodeKey.from_bytes(secret), keccak(data)
    signature = key.sign_digest(digest)
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert int.from_bytes(signature[32:64], "big") <= ORDER // 2
    other = eth_keys.PrivateKey(secret)
    assert other.public_key.to_checksum_address() == key.address
    assert recover_signer(digest, signature) == key.address


def test_address_is_that_of_eth_account() -> None:
    assert Account.from_key(KEY.export_secret()).address == KEY.address
    message = encode_defunct(b"x")
    digest = keccak(b"\x19" + message.version + message.header + message.body)
    assert Account.recover_message(message, signature=KEY.sign_digest(digest)) == KEY.address


@pytest.mark.parametrize("secret", [b"", b"\1" * 31, bytes(32), ORDER.to_bytes(32, "big")])
def test_bad_secret_is_refused_without_quoting_it(secret: bytes) -> None:
    with pytest.raises(BadKey) as caught:
        NodeKey.from_bytes(secret)
    assert caught.value.__cause__ is None


def test_secret_is_not_shown_and_not_pickled() -> None:
    assert KEY.export_secret().hex() not in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_digest_must_have_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KEY.sign_digest(b"short")


def _high_s(signature: bytes) -> bytes:
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s[:64],
        lambda s: s + b"\0",
        lambda s: s[:64] + b"\0",
        lambda s: s[:64] + bytes([29]),
        _high_s,
        lambda s: bytes(64) + b"\x1b",
        lambda s: b"\xff" * 32 + s[32:],
    ],
)
def test_malformed_signature_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    digest = keccak(b"data")
    with pytest.raises(BadSignature):
        recover_signer(digest, spoil(KEY.sign_digest(digest)))


def test_peer_id_agrees_with_libp2p() -> None:
    from libp2p.peer.id import ID

    pair = KEY.libp2p_key_pair()
    assert str(ID.from_pubkey(pair.public_key)) == KEY.peer_id == peer_id_of(KEY)


@given(secrets_)
def test_address_follows_from_the_peer_id(secret: bytes) -> None:
    key = NodeKey.from_bytes(secret)
    assert address_of_peer_id(key.peer_id) == key.address


@given(st.text(max_size=80))
def test_junk_peer_id_is_a_typed_error(text: str) -> None:
    with pytest.raises(BadPeerId):
        address_of_peer_id(text)


def test_peer_id_of_another_key_type_is_refused() -> None:
    with pytest.raises(BadPeerId):
        address_of_peer_id("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
