"""What can go wrong between two nodes over gRPC, and how it crosses the wire.

A handler raises one of these; the server answers with its status and `reason: message` as details;
the client raises `Refused` with the same reason again. Anything else that a handler raises is a
defect of its own node: it is logged there, and the peer learns only `internal`.
"""

from __future__ import annotations

import re

import grpc

from reelmesh.errors import PeerError

_DETAILS = re.compile(r"([a-z0-9_]{1,40}): (.*)", re.DOTALL)
_LONGEST = 300


class Refused(PeerError):
    """The other side understood and said no; `reason` is a stable code that programs compare."""

    reason = "refused"
    status = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class PermissionDenied(Refused):
    """The caller has no award, or asks for what its award does not cover."""

    reason = "permission_denied"
    status = grpc.StatusCode.PERMISSION_DENIED


class StaleLease(Refused):
    """The lease token is not, or no longer, the current one."""

    reason = "stale_lease"


class NoSuchThing(Refused):
    """The job, subtask or artifact is not known here."""

    reason = "not_found"
    status = grpc.StatusCode.NOT_FOUND


class Malformed(Refused):
    """A message breaks the protocol: wrong order, wrong length, missing field."""

    reason = "malformed"
    status = grpc.StatusCode.INVALID_ARGUMENT


class TooMuch(Refused):
    """More bytes, chunks or calls than were announced or allowed."""

    reason = "too_much"
    status = grpc.StatusCode.OUT_OF_RANGE


class TooManyCalls(Refused):
    """One provider holds too many calls open."""

    reason = "too_many_calls"
    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class TooSlow(Refused):
    """The sender fell below the least rate, or went quiet."""

    reason = "too_slow"
    status = grpc.StatusCode.ABORTED


class WrongBytes(Refused):
    """The bytes that arrived do not have the hash that was announced."""

    reason = "wrong_bytes"
    status = grpc.StatusCode.DATA_LOSS


class CoordinatorStorage(Refused):
    """The coordinator cannot read or write its own disk: nobody else's fault, and it may pass."""

    reason = "coordinator_storage"
    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unreachable(PeerError):
    """The coordinator does not answer."""


class CallTimedOut(PeerError):
    """The coordinator answered neither yes nor no in time."""


def details_of(error: Refused) -> str:
    """`reason: message` for the wire, shortened."""
    return f"{error.reason}: {error.message}"[:_LONGEST]


def from_rpc_error(error: grpc.aio.AioRpcError) -> PeerError:
    """The typed error for a failed call."""
    status, details = error.code(), (error.details() or "")[:_LONGEST]
    if status is grpc.StatusCode.UNAVAILABLE:
        return Unreachable("the coordinator does not answer", "it is tried again")
    found = _DETAILS.fullmatch(details)
    if found:
        return Refused(found[2], found[1])
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallTimedOut("the coordinator did not answer in time")
    return Refused(details or status.name.lower(), status.name.lower())
