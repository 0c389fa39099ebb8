"""Why a bid was not taken: codes that both sides can read, the same in wire, logs and docs."""

from __future__ import annotations

from enum import StrEnum


class BidRefusal(StrEnum):
    """Reason codes of `BidReply.reason` when `accepted` is false.

    The first group is given by this layer, before the coordinator sees the bid; the second by the
    coordinator.
    """

    MALFORMED = "malformed"
    """Not an envelope with a valid signature over a Bid within its bounds."""
    WRONG_SENDER = "wrong_sender"
    """Signed by another key than the connection's."""
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"
    """Issued more than the allowed clock skew ahead: the sender's clock is wrong."""
    REPLAYED = "replayed"
    """A bid with this nonce was seen already."""
    TOO_MANY = "too_many"
    """This sender has more live bids than are kept for one sender."""
    NOT_TAKING_BIDS = "not_taking_bids"
    """This node is no coordinator, or is shutting down."""
    FAILED = "failed"
    """The coordinator failed on this bid; it may be sent again with a new nonce."""

    UNKNOWN_JOB = "unknown_job"
    WRONG_ROUND = "wrong_round"
    CLOSED = "closed"
    """The round's bids are cleared already."""
    NOT_REGISTERED = "not_registered"
    """The sender has no active stake."""
    BAD_CERTIFICATE = "bad_certificate"
    NOTHING_OFFERED = "nothing_offered"
    """No stage of the call is in the bid."""
