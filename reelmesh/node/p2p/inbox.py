"""From bytes of a peer to a market message that may be believed to be its signer's.

One way in for all: parse, type, signature, bounds, time, and the identity that the connection
itself has proved. What comes out was really said, by whom, and within its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from google.protobuf.message import Message

from reelmesh.errors import PeerError
from reelmesh.node.p2p.addresses import parse_peer_address
from reelmesh.node.p2p.bounds import OutOfBounds, check_bounds
from reelmesh.node.p2p.errors import BadMultiaddr
from reelmesh.node.p2p.freshness import check_window
from reelmesh.node.wallet.envelope import open_envelope, parse_envelope
from reelmesh.node.wallet.keys import address_of_peer_id
from reelmesh.proto import market_pb2 as pb

if TYPE_CHECKING:
    from reelmesh.scheduler.ids import NodeAddress

M = TypeVar("M", bound=Message)

MAX_AD_LIFE_MS: Final = 3_600_000
MAX_CALL_LIFE_MS: Final = 600_000
MAX_BID_LIFE_MS: Final = 600_000
MAX_AWARD_LIFE_MS: Final = 7 * 86_400_000
LOSS_LIFE_MS: Final = 600_000


class WrongSender(PeerError):
    """Signed by another key than that of the peer it came from, or meant for another node."""


@dataclass(frozen=True)
class Opened(Generic[M]):
    """A verified message: its signer, itself, and until when it counts (ms)."""

    sender: NodeAddress
    message: M
    envelope: pb.Envelope
    expires_at_ms: int


def open_from(
    data: bytes | pb.Envelope, expected: type[M], now_ms: int, from_peer: str | None
) -> Opened[M]:
    """Verify one envelope in full.

    Args:
        data: As received.
        expected: Which market message must be inside.
        from_peer: The peer id that must have signed it; None for what peers hand on for others.

    Raises:
        BadEnvelope, OutOfBounds, WrongSender, Expired, FromTheFuture, LivesTooLong.
    """
    envelope = data if isinstance(data, pb.Envelope) else parse_envelope(data)
    sender, message = open_envelope(envelope, expected)
    check_bounds(message)
    if from_peer is not None and address_of_peer_id(from_peer) != sender:
        raise WrongSender(f"the {expected.DESCRIPTOR.name} was signed by {sender}, not its sender")
    if isinstance(message, pb.Call):
        _check_coordinator(sender, message)
    issued, expires, longest = _times(message)
    check_window(issued, expires, now_ms, longest)
    return Opened(sender, message, envelope, expires)


def _check_coordinator(sender: NodeAddress, call: pb.Call) -> None:
    try:
        _, peer = parse_peer_address(call.coordinator_peer)
    except BadMultiaddr as exc:
        raise OutOfBounds(f"coordinator_peer: {exc.message}") from exc
    if address_of_peer_id(peer) != sender:
        raise WrongSender("the call names another node than its signer as the coordinator")


def _times(message: Message) -> tuple[int, int, int]:
    if isinstance(message, pb.Call):
        return message.issued_at_ms, message.closes_at_ms, MAX_CALL_LIFE_MS
    if isinstance(message, pb.CapacityAd):
        return message.issued_at_ms, message.expires_at_ms, MAX_AD_LIFE_MS
    if isinstance(message, pb.Bid):
        return message.issued_at_ms, message.expires_at_ms, MAX_BID_LIFE_MS
    if isinstance(message, pb.Award):
        return message.issued_at_ms, message.expires_at_ms, MAX_AWARD_LIFE_MS
    if isinstance(message, pb.Loss):
        return message.issued_at_ms, message.issued_at_ms + LOSS_LIFE_MS, LOSS_LIFE_MS
    raise OutOfBounds(f"{message.DESCRIPTOR.name} carries no time")
