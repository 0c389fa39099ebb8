"""What a coordinator must answer; the server does everything around it.

The server has authenticated the caller, bounded the message and set a deadline before it calls one
of these. `provider` is the caller's node address (EIP-55), proven by its certificate. A method
refuses by raising a subclass of `reelmesh.node.rpc.errors.Refused`; any other exception is logged
as a defect and the caller learns only that it was internal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from reelmesh.node.rpc.frames import Chunk
from reelmesh.proto import work_pb2

InputReader = Callable[[int], AsyncIterator[bytes]]
"""Given an offset in bytes, the rest of an artifact in pieces of at most 1 MiB."""


class Delivery(Protocol):
    """One result on its way in. Calls come one at a time; exactly one of finish/abort ends it."""

    async def accept(self, chunk: Chunk) -> work_pb2.DeliverReply:
        """Take the next chunk; answer how many bytes are accepted, with a raised voucher."""

    async def finish(self) -> work_pb2.DeliverReply:
        """The sender is done: answer `complete`, or refuse because something is missing."""

    async def abort(self, reason: str) -> None:
        """The stream ended early, for this reason code; forget what was not finished."""


class WorkHandler(Protocol):
    """The coordinator's side of the Work service."""

    async def lease(self, provider: str, request: work_pb2.LeaseRequest) -> work_pb2.LeaseReply:
        """Grant work, or wait for some up to `request.wait_ms` (already bounded)."""

    async def progress(
        self, provider: str, report: work_pb2.ProgressReport
    ) -> work_pb2.ProgressReply:
        """Renew the lease, or tell the provider to stop."""

    async def open_input(self, provider: str, job_id: bytes, sha256: str) -> InputReader:
        """A reader of an artifact that this provider's current lease needs."""

    async def begin_delivery(self, provider: str, header: work_pb2.DeliverHeader) -> Delivery:
        """Check lease and announced outputs; usually answers with a `DeliverySink`."""

    async def attest(self, provider: str, request: work_pb2.AttestRequest) -> work_pb2.AttestReply:
        """Check and keep the attestation; answer with the voucher for the full price."""

    async def fail(self, provider: str, request: work_pb2.FailRequest) -> None:
        """The provider gives the lease back."""

    async def consent(
        self, provider: str, request: work_pb2.ConsentRequest
    ) -> work_pb2.ConsentReply:
        """The provider agrees to its total."""
