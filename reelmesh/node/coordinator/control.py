"""The Control service: how a user's command line speaks to the coordinator, over a unix socket."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import structlog

from reelmesh.errors import ReelmeshError, StorageError
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.coordinator.jobs import Jobs
from reelmesh.node.coordinator.submitting import parse_request
from reelmesh.node.coordinator.views import job_line, job_page
from reelmesh.proto import control_pb2
from reelmesh.proto.control_pb2_grpc import ControlServicer, add_ControlServicer_to_server
from reelmesh.scheduler.ids import job_id as parse_job_id

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")
Status = Callable[[], Awaitable[dict[str, Any]]]

_MAX_MESSAGE = 16 << 20
_MOST_JOBS = 1_000
_STOP_GRACE_S = 1.0


class SocketInUse(StorageError):
    """Another coordinator answers on this home's socket."""


class ControlService(ControlServicer):
    """Answers the command line.

    An expected error goes back as FAILED_PRECONDITION with JSON {message, hint, exit_code} for
    details, so that the command line can show it as its own.
    """

    def __init__(
        self,
        config: CoordinatorConfig,
        jobs: Jobs,
        status: Status,
        offers: Callable[[], list[dict[str, Any]]],
        stop: Callable[[], None],
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._status = status
        self._offers = offers
        self._stop = stop

    async def Status(  # noqa: N802 - gRPC's name
        self, request: control_pb2.StatusRequest, context: Any
    ) -> control_pb2.JsonReply:
        """This node on one screen."""
        del request
        return _json(await _answer(context, self._status()))

    async def QuoteJob(  # noqa: N802
        self, request: control_pb2.SubmitJobRequest, context: Any
    ) -> control_pb2.JsonReply:
        """What a submission would come to."""
        quoted = self._jobs.quote(request.spec_json, request.reuse or "off")
        return _json(await _answer(context, quoted))

    async def SubmitJob(  # noqa: N802
        self, request: control_pb2.SubmitJobRequest, context: Any
    ) -> control_pb2.SubmitJobReply:
        """Check a request and begin the job."""

        async def submit() -> control_pb2.SubmitJobReply:
            parsed = parse_request(
                spec_json=request.spec_json,
                budget=request.budget,
                deadline_s=request.deadline_s,
                out_dir=request.out_dir,
                name=request.name,
                request_id=request.request_id,
                sources=[(source.name, source.path) for source in request.sources],
                reuse=request.reuse or "off",
            )
            done = await self._jobs.submit(parsed)
            reply = control_pb2.SubmitJobReply(job_id=done.job_id, video=str(done.video or ""))
            if done.similar is not None:
                reply.similar_prompt = done.similar.prompt
                reply.likeness = done.similar.likeness
            return reply

        return await _answer(context, submit())

    async def ListJobs(  # noqa: N802
        self, request: control_pb2.ListJobsRequest, context: Any
    ) -> control_pb2.JsonReply:
        """The newest jobs, newest first."""

        async def collect() -> list[dict[str, Any]]:
            limit = min(request.limit or 50, _MOST_JOBS)
            return [job_line(*found) for found in await self._jobs.newest(limit)]

        return _json(await _answer(context, collect()))

    async def ListOffers(  # noqa: N802
        self, request: control_pb2.ListOffersRequest, context: Any
    ) -> control_pb2.JsonReply:
        """What providers advertise now."""
        del request, context
        return _json({"offers": self._offers()})

    async def ShowJob(  # noqa: N802
        self, request: control_pb2.ShowJobRequest, context: Any
    ) -> control_pb2.JsonReply:
        """All about one job."""

        async def show() -> dict[str, Any]:
            return job_page(*await self._jobs.state(parse_job_id(request.job_id)))

        return _json(await _answer(context, show()))

    async def CancelJob(  # noqa: N802
        self, request: control_pb2.CancelJobRequest, context: Any
    ) -> control_pb2.JsonReply:
        """End a job."""

        async def cancel() -> dict[str, Any]:
            job_id = parse_job_id(request.job_id)
            state = await self._jobs.cancel(job_id, "by the buyer")
            return job_line(await self._jobs.record(job_id), state)

        return _json(await _answer(context, cancel()))

    async def WatchJob(  # noqa: N802
        self, request: control_pb2.WatchJobRequest, context: Any
    ) -> AsyncIterator[control_pb2.JobEvent]:
        """What happened after a number, then what happens, until the job is over."""
        feed = await _answer(context, self._feed(request.job_id))
        async for entry in feed.follow(request.after):
            yield control_pb2.JobEvent(
                sequence=entry.sequence,
                at_ms=entry.at_ms,
                type=entry.type,
                data_json=entry.body,
            )

    async def Shutdown(  # noqa: N802
        self, request: control_pb2.ShutdownRequest, context: Any
    ) -> control_pb2.JsonReply:
        """Stop the node once this is answered; jobs go on at its next start."""
        del context
        log.info("shutdown_asked", reason=request.reason[:200])
        asyncio.get_running_loop().call_later(0.05, self._stop)
        return _json({"stopping": True})

    async def _feed(self, job_id: str) -> Any:
        return await self._jobs.feed(parse_job_id(job_id))


async def start_control(service: ControlService, socket: Path) -> grpc.aio.Server:
    """Serve on a unix socket that only this user can open. Raises SocketInUse."""
    if socket.exists():
        await _remove_stale(socket)
    server = grpc.aio.server(
        options=[
            ("grpc.max_send_message_length", _MAX_MESSAGE),
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
        ]
    )
    add_ControlServicer_to_server(service, server)
    before = os.umask(0o177)
    try:
        # Binds at once. Nothing else may run meanwhile: a folder made under this mask is no use.
        server.add_insecure_port(f"unix:{socket}")
    finally:
        os.umask(before)
    await server.start()
    socket.chmod(0o600)
    return server


async def stop_control(server: grpc.aio.Server, socket: Path) -> None:
    """End open watches and remove the socket."""
    await server.stop(_STOP_GRACE_S)
    socket.unlink(missing_ok=True)


async def _remove_stale(socket: Path) -> None:
    try:
        _, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        socket.unlink(missing_ok=True)  # left by a coordinator that was killed
        return
    writer.close()
    raise SocketInUse(
        f"another coordinator runs in this home ({socket})", "stop it first, or use another home"
    )


async def _answer(context: Any, work: Awaitable[T]) -> T:
    try:
        return await work
    except ReelmeshError as error:
        told = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, json.dumps(told))
        raise AssertionError("abort raises") from error


def _json(value: Any) -> control_pb2.JsonReply:
    return control_pb2.JsonReply(json=json.dumps(value))
