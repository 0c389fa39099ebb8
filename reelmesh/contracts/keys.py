"""A secp256k1 key held in memory: for deploying, local chains and tests."""

from __future__ import annotations

import secrets
from typing import NoReturn

import coincurve
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak


class LocalKey:
    """Implements `eip712.SigningKey`. Nodes keep theirs in `reelmesh.node.wallet` instead."""

    __slots__ = ("_address", "_private")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("a secret key has 32 bytes")
        self._private = coincurve.PrivateKey(secret)
        public = self._private.public_key.format(compressed=False)[1:]
        self._address = str(to_checksum_address(keccak(public)[12:]))

    @classmethod
    def generate(cls) -> LocalKey:
        """A fresh key from the operating system's randomness."""
        return cls(secrets.token_bytes(32))

    @property
    def address(self) -> str:
        """The key's account, EIP-55 checksummed."""
        return self._address

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes; returns 65 bytes r||s||v with v in {27, 28} and low s."""
        if len(digest) != 32:
            raise ValueError("a digest has 32 bytes")
        signature = bytes(self._private.sign_recoverable(digest, hasher=None))
        return signature[:64] + bytes([27 + signature[64]])

    def export_secret(self) -> bytes:
        """The 32 secret bytes, for a keystore. Never log them."""
        return bytes(self._private.secret)

    def __repr__(self) -> str:
        return f"LocalKey({self._address}, secret redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: its secret stays in this process")
