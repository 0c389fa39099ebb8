"""The provider's side of the Work service: typed calls with deadlines, retries and credits."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import grpc
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from reelmesh.node.rpc.certs import (
    BadCertificate,
    NodeCertificate,
    der_to_pem,
    server_name,
    verify_certificate,
)
from reelmesh.node.rpc.errors import Malformed, Unreachable, from_rpc_error
from reelmesh.node.rpc.frames import DELIVER, write_request
from reelmesh.node.rpc.limits import MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES, RpcLimits
from reelmesh.node.rpc.sending import Output, read_chunks
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.artifacts_writer import WrongHash
from reelmesh.proto import work_pb2
from reelmesh.proto.work_pb2_grpc import WorkStub

if TYPE_CHECKING:
    from reelmesh.proto.work_pb2_grpc import WorkAsyncStub

T = TypeVar("T")
OnReply = Callable[[work_pb2.DeliverReply], Awaitable[None]]
_CORE_REFUSED = "Internal error from Core"
"""gRPC's own words for a write that its core refused; the stream's real status comes later."""
_STATUS_LOOKS, _STATUS_LOOK_S = 100, 0.01

_TARGET = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253}):([0-9]{1,5})")


class ProgressStream:
    """One lease's reports; each is answered by a renewal or a cancellation."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any], limits: RpcLimits) -> None:
        self._call = call
        self._limits = limits

    async def report(self, report: work_pb2.ProgressReport) -> work_pb2.ProgressReply:
        """Send one report and wait for its answer; raises as the client's calls do."""
        with _typed_errors():
            async with asyncio.timeout(self._limits.call_s):
                await _write(self._call, report)
                reply = await self._call.read()
        if reply is grpc.aio.EOF:
            raise await _why_ended(self._call)
        return cast("work_pb2.ProgressReply", reply)


class WorkClient:
    """One provider's connection to one coordinator.

    Args:
        target: "host:port" from the award.
        coordinator_certificate_der: From the award; the only certificate trusted.
        certificate: The provider's own, sent with its bid.
        coordinator: The address that certificate must belong to.
        sleep: What waits between retries.

    Every method raises `Refused` (the coordinator said no; see `.reason`), `Unreachable` (no answer
    within `limits.retry_s`) or `CallTimedOut`.
    """

    def __init__(
        self,
        target: str,
        coordinator_certificate_der: bytes,
        certificate: NodeCertificate,
        *,
        coordinator: str,
        limits: RpcLimits | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        match = _TARGET.fullmatch(target)
        if match is None or not 0 < int(match[2]) < 65536:
            raise Malformed("the coordinator's address is not host:port")
        if verify_certificate(coordinator_certificate_der, clock_ms()) != coordinator:
            raise BadCertificate(f"a certificate that is not the coordinator {coordinator}'s")
        self.limits = limits or RpcLimits()
        self._sleep = sleep
        credentials = grpc.ssl_channel_credentials(
            root_certificates=der_to_pem(coordinator_certificate_der),
            private_key=certificate.key_pem,
            certificate_chain=certificate.cert_pem,
        )
        self._channel = grpc.aio.secure_channel(target, credentials, _options(coordinator))
        self._stub = cast("WorkAsyncStub", WorkStub(self._channel))
        self._deliver = self._channel.stream_stream(
            DELIVER,
            request_serializer=write_request,
            response_deserializer=work_pb2.DeliverReply.FromString,
        )

    async def close(self) -> None:
        """Drop the connection; open calls end."""
        await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def lease(self, request: work_pb2.LeaseRequest) -> work_pb2.LeaseReply:
        """Ask for work; waits up to `request.wait_ms` on the other side."""
        limit_s = self.limits.call_s + request.wait_ms / 1000
        return await self._retried(lambda: self._stub.Lease(request, timeout=limit_s))

    async def attest(self, request: work_pb2.AttestRequest) -> work_pb2.AttestReply:
        """Hand in the attestation of a delivered subtask."""
        return await self._retried(lambda: self._stub.Attest(request, timeout=self.limits.call_s))

    async def fail(self, request: work_pb2.FailRequest) -> None:
        """Give a lease back. One try: a lease that is not given back expires by itself."""
        await _typed(self._stub.Fail(request, timeout=self.limits.call_s))

    async def consent(self, request: work_pb2.ConsentRequest) -> work_pb2.ConsentReply:
        """Agree to the final total."""
        return await self._retried(lambda: self._stub.Consent(request, timeout=self.limits.call_s))

    @asynccontextmanager
    async def progress(self) -> AsyncIterator[ProgressStream]:
        """A stream of reports for one lease. When it breaks, open another."""
        call = self._stub.Progress(timeout=self.limits.stream_s)
        try:
            yield ProgressStream(call, self.limits)
        finally:
            call.cancel()

    async def fetch(self, job_id: bytes, ref: work_pb2.ArtifactRef, store: ArtifactStore) -> None:
        """Bring one artifact into `store`, verified; resumes where a broken connection left off.

        Wrong bytes are fetched once more from the start; raises WrongHash when they are wrong
        again, TooManyBytes when more come than were announced.
        """
        try:
            await self._fetch_once(job_id, ref, store)
        except WrongHash:
            await self._fetch_once(job_id, ref, store)

    async def _fetch_once(
        self, job_id: bytes, ref: work_pb2.ArtifactRef, store: ArtifactStore
    ) -> None:
        async with store.writer(expected=ref.sha256, max_bytes=ref.size) as writer:

            async def rest() -> None:
                request = work_pb2.FetchRequest(
                    job_id=job_id, sha256=ref.sha256, offset=writer.size
                )
                call = self._stub.Fetch(request, timeout=self.limits.stream_s)
                try:
                    while (chunk := await self._read(call)) is not None:
                        if chunk.offset != writer.size:
                            raise Malformed("a chunk out of order", "out_of_order")
                        await writer.write(chunk.data)
                finally:
                    call.cancel()

            await self._retried(rest)

    async def deliver(
        self,
        header: work_pb2.DeliverHeader,
        outputs: Sequence[Path],
        on_reply: OnReply,
        *,
        chunk_bytes: int = MAX_CHUNK_BYTES,
    ) -> None:
        """Stream the outputs, at most `limits.window` chunks ahead of what is acknowledged.

        Args:
            header: Names, hashes and sizes, in the order of `outputs`.
            outputs: The files.
            on_reply: Sees every answer; it raises to stop sending, as when pay falls behind.
            chunk_bytes: Size of one chunk, at most 1 MiB.

        One try: whoever calls knows whether a lease is still worth another.
        """
        files = [
            Output(index, path, ref.size)
            for index, (path, ref) in enumerate(zip(outputs, header.outputs, strict=True))
        ]
        call = self._deliver(timeout=self.limits.stream_s)
        try:
            await self._send(call, work_pb2.DeliverRequest(header=header))
            ahead = 0
            for request in read_chunks(files, min(chunk_bytes, MAX_CHUNK_BYTES)):
                if ahead == self.limits.window:
                    await self._answer(call, on_reply)
                    ahead -= 1
                await self._send(call, request)
                ahead += 1
            with _typed_errors():
                await call.done_writing()
            while not await self._answer(call, on_reply):
                pass
        finally:
            call.cancel()

    async def _answer(self, call: grpc.aio.StreamStreamCall[Any, Any], on_reply: OnReply) -> bool:
        reply = await self._read(call)
        if reply is None:
            raise Malformed("the coordinator ended the delivery without confirming it")
        await on_reply(reply)
        return bool(reply.complete)

    async def _send(self, call: grpc.aio.StreamStreamCall[Any, Any], message: Any) -> None:
        with _typed_errors():
            async with asyncio.timeout(self.limits.chunk_s):
                await _write(call, message)

    async def _read(self, call: Any) -> Any:
        """The next answer, None at the end of a stream that ended well."""
        with _typed_errors():
            async with asyncio.timeout(self.limits.chunk_s):
                message = await call.read()
        return None if message is grpc.aio.EOF else message

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unreachable),
            wait=wait_random_exponential(multiplier=0.2, max=3.0),
            stop=stop_after_delay(self.limits.retry_s),
            sleep=self._sleep,
            reraise=True,
        )
        return cast("T", await retrying(_typed, _Lazy(call)))


class _Lazy(Awaitable[T]):
    """An awaitable that begins anew each time it is awaited."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make

    def __await__(self) -> Any:
        return self._make().__await__()


async def _typed(call: Awaitable[T]) -> T:
    with _typed_errors():
        return await call


async def _write(call: grpc.aio.StreamStreamCall[Any, Any], message: Any) -> None:
    try:
        await call.write(message)
    except asyncio.InvalidStateError:  # the other side ended the stream, and said why
        raise await _why_ended(call) from None
    except grpc.aio.AioRpcError as error:
        if error.details() != _CORE_REFUSED:
            raise
        # The other side has just ended the stream: gRPC refuses the write before it has read why.
        raise await _why_ended(call) from None


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Whatever a call raises, as one of ours."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    except TimeoutError as error:
        raise Unreachable("the coordinator went quiet", "it is tried again") from error
    except grpc.aio.UsageError as error:
        raise Unreachable("the connection was closed", "it is tried again") from error
    except asyncio.CancelledError:
        # gRPC also cancels whoever waits on a channel that is closed: that is not our own task
        # being told to stop.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unreachable("the connection was closed", "it is tried again") from None


async def _why_ended(call: Any) -> Exception:
    """The error behind a stream that closed under us."""
    for _ in range(_STATUS_LOOKS):
        if await call.details() != _CORE_REFUSED:
            break
        await asyncio.sleep(_STATUS_LOOK_S)
    code, details = await call.code(), await call.details()
    if code is grpc.StatusCode.OK or details == _CORE_REFUSED:
        return Unreachable("the coordinator closed the stream", "it is tried again")
    metadata = grpc.aio.Metadata()
    return from_rpc_error(grpc.aio.AioRpcError(code, metadata, metadata, details))


def _options(coordinator: str) -> list[tuple[str, Any]]:
    return [
        ("grpc.ssl_target_name_override", server_name(coordinator)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 0),
    ]
