"""From gRPC calls to `WorkHandler` calls: who asks, within what bounds, what a no looks like."""

# ruff: noqa: N802 - gRPC names its methods so

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeGuard

import grpc

from reelmesh.errors import PeerError, StorageError
from reelmesh.node.logging import get_logger
from reelmesh.node.rpc.errors import CoordinatorStorage, Malformed, Refused, TooSlow, details_of
from reelmesh.node.rpc.frames import Chunk
from reelmesh.node.rpc.handler import Delivery, WorkHandler
from reelmesh.node.rpc.limits import MAX_CHUNK_BYTES, MAX_LEASE_WAIT_MS, RpcLimits
from reelmesh.node.rpc.peers import AllowedPeers
from reelmesh.proto import work_pb2
from reelmesh.proto.work_pb2_grpc import WorkServicer

log = get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
_PEER_KEY = "x509_pem_cert"
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


class WorkService(WorkServicer):
    """Authenticates, bounds and times every call before the handler sees it."""

    def __init__(self, handler: WorkHandler, peers: AllowedPeers, limits: RpcLimits) -> None:
        self._handler = handler
        self._peers = peers
        self._limits = limits

    async def Lease(self, request: work_pb2.LeaseRequest, context: Context) -> work_pb2.LeaseReply:
        request.wait_ms = min(request.wait_ms, MAX_LEASE_WAIT_MS)
        limit_s = self._limits.call_s + request.wait_ms / 1000
        async with self._call(context, limit_s) as provider:
            _check_job(request.job_id)
            return await self._handler.lease(provider, request)
        raise AssertionError("a refused call was aborted")

    async def Attest(
        self, request: work_pb2.AttestRequest, context: Context
    ) -> work_pb2.AttestReply:
        async with self._call(context, self._limits.call_s) as provider:
            _check_token(request.lease_token)
            return await self._handler.attest(provider, request)
        raise AssertionError("a refused call was aborted")

    async def Fail(self, request: work_pb2.FailRequest, context: Context) -> work_pb2.FailReply:
        async with self._call(context, self._limits.call_s) as provider:
            _check_job(request.job_id)
            _check_token(request.lease_token)
            request.message = request.message[:500]
            await self._handler.fail(provider, request)
        return work_pb2.FailReply()

    async def Consent(
        self, request: work_pb2.ConsentRequest, context: Context
    ) -> work_pb2.ConsentReply:
        async with self._call(context, self._limits.call_s) as provider:
            _check_job(request.job_id)
            return await self._handler.consent(provider, request)
        raise AssertionError("a refused call was aborted")

    # Streams read and write through the context, so that each wait can have its own deadline.

    async def Progress(  # type: ignore[override]
        self, _requests: AsyncIterator[work_pb2.ProgressReport], context: Context
    ) -> None:
        async with self._call(context, self._limits.stream_s) as provider:
            while (report := await self._next(context, self._limits.quiet_s)) is not None:
                _check_job(report.job_id)
                _check_token(report.lease_token)
                report.note = report.note[:80]
                if not 0.0 <= report.fraction <= 1.0:
                    raise Malformed("progress is a fraction between 0 and 1")
                reply = await self._handler.progress(provider, report)
                await context.write(reply)

    async def Fetch(  # type: ignore[override]
        self, request: work_pb2.FetchRequest, context: Context
    ) -> None:
        async with self._call(context, self._limits.stream_s) as provider:
            _check_job(request.job_id)
            reader = await self._handler.open_input(provider, request.job_id, request.sha256)
            offset = request.offset
            async for data in reader(offset):
                for piece in _pieces(data):
                    async with asyncio.timeout(self._limits.chunk_s):
                        await context.write(work_pb2.Chunk(offset=offset, data=piece))
                    offset += len(piece)

    async def Deliver(  # type: ignore[override]
        self, _requests: AsyncIterator[work_pb2.DeliverRequest | Chunk], context: Context
    ) -> None:
        async with self._call(context, self._limits.stream_s) as provider:
            first = await self._next(context, self._limits.chunk_s)
            if not _is_header(first):
                raise Malformed("a delivery begins with its header")
            _check_job(first.header.job_id)
            _check_token(first.header.lease_token)
            delivery = await self._handler.begin_delivery(provider, first.header)
            try:
                await self._take_chunks(delivery, context)
                await context.write(await delivery.finish())
            except BaseException as error:
                await asyncio.shield(delivery.abort(_reason_of(error)))
                raise

    async def _take_chunks(self, delivery: Delivery, context: Context) -> None:
        waited_s, accepted = 0.0, 0
        while True:
            asked = time.monotonic()
            request = await self._next(context, self._limits.chunk_s)
            if request is None:
                return
            if not isinstance(request, Chunk):
                raise Malformed("only chunks follow a delivery's header")
            # only waiting for the sender counts, not our own disk
            waited_s += time.monotonic() - asked
            too_few = accepted < waited_s * self._limits.min_bytes_per_s
            if waited_s > self._limits.grace_s and too_few:
                raise TooSlow(f"{accepted} bytes in {waited_s:.0f} s are too few")
            reply = await delivery.accept(request)
            accepted = reply.accepted_bytes
            await context.write(reply)

    async def _next(self, context: Context, limit_s: float) -> Any:
        """The stream's next message, None at its end; raises TooSlow."""
        try:
            async with asyncio.timeout(limit_s):
                message = await context.read()
        except TimeoutError:
            raise TooSlow(f"nothing came for {limit_s:.0f} s") from None
        return None if message is grpc.aio.EOF else message

    @asynccontextmanager
    async def _call(self, context: Context, limit_s: float) -> AsyncIterator[str]:
        """Yield the caller's address; turn what is raised inside into the call's status."""
        provider = "unknown"
        try:
            provider = self._peers.identify(_peer_pem(context))
            with self._peers.call_of(provider):
                async with asyncio.timeout(limit_s):
                    yield provider
        except Refused as error:
            self._peers.refused[provider, error.reason] += 1
            log.warning("call_refused", provider=provider, reason=error.reason, why=error.message)
            await context.abort(error.status, details_of(error))
        except PeerError as error:
            self._peers.refused[provider, "refused"] += 1
            log.warning("call_refused", provider=provider, reason="refused", why=error.message)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"refused: {error.message}")
        except TimeoutError:
            log.warning("call_too_long", provider=provider, limit_s=limit_s)
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, "too_long: the call took longer than it may"
            )
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:
            if _is_storage(error):
                log.warning("disk_failed", provider=provider, why=str(error))
                own = CoordinatorStorage("the coordinator's disk fails it; try again later")
                await context.abort(own.status, details_of(own))
            log.exception("call_failed", provider=provider)
            await context.abort(grpc.StatusCode.INTERNAL, "internal: the coordinator failed here")


def _peer_pem(context: Context) -> bytes | None:
    found: Iterable[bytes] = context.auth_context().get(_PEER_KEY, ())
    return next(iter(found), None)


def _is_header(message: object) -> TypeGuard[work_pb2.DeliverRequest]:
    return isinstance(message, work_pb2.DeliverRequest) and message.HasField("header")


def _pieces(data: bytes) -> Iterable[bytes]:
    if len(data) <= MAX_CHUNK_BYTES:
        return (data,)
    return (data[at : at + MAX_CHUNK_BYTES] for at in range(0, len(data), MAX_CHUNK_BYTES))


def _reason_of(error: BaseException) -> str:
    if isinstance(error, Refused):
        return error.reason
    if _is_storage(error):
        return CoordinatorStorage.reason
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"


def _is_storage(error: BaseException) -> bool:
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _DISK)


def _check_job(job_id: bytes) -> None:
    if len(job_id) != 32:
        raise Malformed("a job id is 32 bytes")


def _check_token(token: bytes) -> None:
    if len(token) != 16:
        raise Malformed("a lease token is 16 bytes")
