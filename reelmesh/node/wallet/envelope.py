"""Signed envelopes: the outermost layer of everything that nodes say to each other over libp2p.

The signature is over keccak256("reelmesh/v1/" + type + newline + payload), so a payload signed as
one type never passes for another. Who signed is recovered from the signature; an envelope carries
no sender field that could disagree with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from eth_utils.crypto import keccak
from google.protobuf.message import DecodeError, Message

from reelmesh.errors import PeerError
from reelmesh.node.wallet.keys import (
    BadSignature,
    NodeKey,
    address_of_peer_id,
    peer_id_of,
    recover_signer,
)
from reelmesh.proto import market_pb2

if TYPE_CHECKING:
    from reelmesh.scheduler.ids import NodeAddress

__all__ = [
    "MAX_PAYLOAD_BYTES",
    "BadEnvelope",
    "address_of_peer_id",
    "open_envelope",
    "parse_envelope",
    "peer_id_of",
    "seal",
    "signed_digest",
]

MAX_PAYLOAD_BYTES: Final = 256 * 1024
MAX_TYPE_CHARS: Final = 64
_DOMAIN: Final = b"reelmesh/v1/"

M = TypeVar("M", bound=Message)


class BadEnvelope(PeerError):
    """An envelope is too large, of another type, wrongly signed, or does not parse."""


def signed_digest(message_type: str, payload: bytes) -> bytes:
    """The 32 bytes that an envelope's signature is over."""
    return keccak(_DOMAIN + message_type.encode() + b"\n" + payload)


def seal(key: NodeKey, message: Message) -> market_pb2.Envelope:
    """Serialise, sign and wrap one protobuf message of package reelmesh.v1.

    Raises ValueError when it is larger than MAX_PAYLOAD_BYTES, since no peer would take it.
    """
    payload = message.SerializeToString(deterministic=True)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a message has at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    name = message.DESCRIPTOR.name
    return market_pb2.Envelope(
        type=name, payload=payload, signature=key.sign_digest(signed_digest(name, payload))
    )


def parse_envelope(data: bytes) -> market_pb2.Envelope:
    """Bytes from a peer to an Envelope; raises BadEnvelope. Nothing is verified yet."""
    try:
        return market_pb2.Envelope.FromString(data)
    except (DecodeError, ValueError) as exc:
        raise BadEnvelope("the bytes are not an envelope") from exc


def open_envelope(envelope: market_pb2.Envelope, expected_type: type[M]) -> tuple[NodeAddress, M]:
    """Verify an envelope; returns who signed it and the message inside.

    Args:
        envelope: As received. Bounded here to MAX_PAYLOAD_BYTES.
        expected_type: The protobuf class that must be inside, e.g. `market_pb2.Bid`.

    Raises:
        BadEnvelope: any other type, size, signature or payload.
    """
    name = expected_type.DESCRIPTOR.name
    if envelope.type != name:
        raise BadEnvelope(f"expected a {name}, got {envelope.type[:MAX_TYPE_CHARS]!r}")
    if len(envelope.payload) > MAX_PAYLOAD_BYTES:
        raise BadEnvelope(f"the {name} is larger than {MAX_PAYLOAD_BYTES} bytes")
    try:
        sender = recover_signer(signed_digest(name, envelope.payload), envelope.signature)
        return sender, expected_type.FromString(envelope.payload)
    except BadSignature as exc:
        raise BadEnvelope(f"the {name} is not validly signed: {exc.message}") from exc
    except (DecodeError, ValueError) as exc:
        raise BadEnvelope(f"the payload is not a {name}") from exc
