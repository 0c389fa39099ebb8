"""One secp256k1 key is a node's whole identity: its Ethereum account and its libp2p peer id.

A libp2p peer id of a secp256k1 key embeds the public key itself (an identity multihash, see the
libp2p peer id specification), so the Ethereum address follows from the peer id alone and nobody
has to be asked which account a peer stands for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NoReturn, cast

import base58
import coincurve
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from reelmesh.errors import PeerError, UserError

if TYPE_CHECKING:
    from libp2p.crypto.keys import KeyPair

    from reelmesh.scheduler.ids import NodeAddress

SIGNATURE_BYTES: Final = 65
DIGEST_BYTES: Final = 32
_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
# Protobuf PublicKey{Type: Secp256k1 (2), Data: 33 bytes} under an identity multihash of 37 bytes.
_PEER_ID_PREFIX: Final = bytes.fromhex("002508021221")
_PEER_ID_BYTES: Final = len(_PEER_ID_PREFIX) + 33


class BadKey(UserError):
    """The bytes given are not a secp256k1 secret key."""


class BadSignature(PeerError):
    """A signature is malformed (length, v, high s) or recovers no key."""


class BadPeerId(PeerError):
    """A peer id is not the id of a secp256k1 key."""


class NodeKey:
    """A secp256k1 secret with the few things done with it. Never printed, copied or pickled.

    Implements the `SigningKey` protocol of `reelmesh.contracts.eip712`.
    """

    __slots__ = ("_address", "_private")

    def __init__(self, private: coincurve.PrivateKey) -> None:
        self._private = private
        self._address = _address_of(private.public_key)

    @classmethod
    def generate(cls) -> NodeKey:
        """A fresh key from the operating system's randomness."""
        return cls(coincurve.PrivateKey())

    @classmethod
    def from_bytes(cls, secret: bytes) -> NodeKey:
        """The key whose secret is these 32 bytes; raises BadKey if they are none."""
        if len(secret) != 32:
            raise BadKey(f"a secret key has 32 bytes, not {len(secret)}")
        try:
            return cls(coincurve.PrivateKey(secret))
        except ValueError:
            # The cause would quote the secret: drop it.
            raise BadKey("these 32 bytes are not a valid secp256k1 secret key") from None

    @property
    def address(self) -> NodeAddress:
        """The Ethereum address, EIP-55 checksummed."""
        return self._address

    @property
    def public_key(self) -> bytes:
        """The compressed public key, 33 bytes."""
        return bytes(self._private.public_key.format(compressed=True))

    @property
    def peer_id(self) -> str:
        """The libp2p peer id, base58."""
        return peer_id_of(self.public_key)

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes; returns 65 bytes r||s||v with v in {27, 28} and low s (EIP-2)."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        signature = self._private.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def export_secret(self) -> bytes:
        """The 32 secret bytes, for the keystore and for libp2p's own handshake. Never log them."""
        return bytes(self._private.secret)

    def libp2p_key_pair(self) -> KeyPair:
        """The same key as py-libp2p's KeyPair (imports libp2p, which takes seconds)."""
        from libp2p.crypto.secp256k1 import create_new_key_pair

        return create_new_key_pair(self.export_secret())

    def __repr__(self) -> str:
        return f"NodeKey({self._address}, secret redacted)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeKey) and other.public_key == self.public_key

    def __hash__(self) -> int:
        return hash(self.public_key)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a NodeKey is not pickled: its secret stays in this process")


def recover_signer(digest: bytes, signature: bytes) -> NodeAddress:
    """The address whose key made this 65-byte r||s||v signature of a 32-byte digest.

    Strict, so that a signature has one form alone: v in {27, 28}, low s. Raises BadSignature.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if signature[64] not in (27, 28):
        raise BadSignature(f"a signature's v is 27 or 28, not {signature[64]}")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise BadSignature("a signature's s must be in the lower half of the order")
    try:
        public = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), digest, hasher=None
        )
    except Exception as exc:  # coincurve raises bare Exception and ValueError alike
        raise BadSignature("the signature recovers no key") from exc
    return _address_of(public)


def peer_id_of(key: NodeKey | bytes) -> str:
    """The base58 libp2p peer id of a NodeKey or of a compressed public key of 33 bytes."""
    public = key.public_key if isinstance(key, NodeKey) else key
    return base58.b58encode(_PEER_ID_PREFIX + public).decode("ascii")


def address_of_peer_id(peer_id: str) -> NodeAddress:
    """The Ethereum address of the key that a peer id embeds; raises BadPeerId."""
    if len(peer_id) > 64:
        raise BadPeerId("a peer id is shorter than 64 characters")
    try:
        raw = base58.b58decode(peer_id)
    except ValueError as exc:
        raise BadPeerId("the peer id is not base58") from exc
    if len(raw) != _PEER_ID_BYTES or not raw.startswith(_PEER_ID_PREFIX):
        raise BadPeerId("the peer id is not of a secp256k1 key", "only such peers trade here")
    try:
        return _address_of(coincurve.PublicKey(raw[len(_PEER_ID_PREFIX) :]))
    except ValueError as exc:
        raise BadPeerId("the peer id holds no point of the curve") from exc


def new_nonce() -> bytes:
    """16 random bytes, as a bid's nonce."""
    return os.urandom(16)


def _address_of(public: coincurve.PublicKey) -> NodeAddress:
    raw = keccak(public.format(compressed=False)[1:])[-20:]
    return cast("NodeAddress", to_checksum_address(raw))
