"""Speaks to a coordinator of the same user over the unix socket in its home folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from reelmesh.errors import ReelmeshError, UserError

if TYPE_CHECKING:
    import grpc.aio

    from reelmesh.proto import control_pb2

_CALL_TIMEOUT_S = 30.0
_SUBMIT_TIMEOUT_S = 120.0


class NodeNotRunning(UserError):
    """No node answers at its control socket."""


class ControlRefused(UserError):
    """The node understood, and said why it will not."""


@dataclass(frozen=True)
class Event:
    """One thing that happened to a job; `data` is as reelmesh/node/coordinator/feed.py says."""

    sequence: int
    at_ms: int
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Order:
    """A job as it is handed to the coordinator.

    Attributes:
        spec_json: Canonical JSON of the JobSpec.
        budget: Wei put in escrow.
        deadline_s: Seconds from now.
        out_dir: Absolute folder for the MP4 and the receipt.
        name: File stem of both.
        sources: The spec's source fields, each with its file's absolute path.
        reuse: "exact" takes in what earlier jobs of this buyer made; "off" does all anew.
            "similar" takes in a similar prompt's clip, too; "like:JOB" the clip that this job took.
    """

    spec_json: str
    budget: int
    deadline_s: int
    out_dir: Path
    name: str
    sources: Mapping[str, Path] = field(default_factory=dict)
    reuse: str = "off"


@dataclass(frozen=True)
class Taken:
    """An order that was taken: the job's id.

    `video` is set where all of it was kept from that earlier job: its path, written at no cost.
    `similar_prompt` is then the prompt that it was made for, where that is another, and `likeness`
    how like the two are.
    """

    job_id: str
    video: str = ""
    similar_prompt: str = ""
    likeness: float = 1.0


class ControlClient:
    """`async with ControlClient(socket) as client`: one method for each thing a node can be asked.

    Raises NodeNotRunning where nobody answers, ControlRefused with the node's own words where it
    refuses.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __aenter__(self) -> Self:
        import grpc

        from reelmesh.proto.control_pb2_grpc import ControlStub

        self._channel = grpc.aio.insecure_channel(
            f"unix://{self._socket}", options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        self._stub = cast("Any", ControlStub(self._channel))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def status(self) -> dict[str, Any]:
        """What the node is, its wallet and its peers."""
        from reelmesh.proto import control_pb2

        return await self._json(self._stub.Status, control_pb2.StatusRequest())

    async def submit(self, order: Order) -> str:
        """Hand in a job; return its id."""
        return (await self.order(order)).job_id

    async def order(self, order: Order) -> Taken:
        """Hand in a job. A lost answer is asked again without submitting twice."""
        from reelmesh.proto import control_pb2

        request = control_pb2.SubmitJobRequest(
            spec_json=order.spec_json,
            budget=str(order.budget),
            deadline_s=order.deadline_s,
            out_dir=str(order.out_dir),
            name=order.name,
            request_id=uuid.uuid4().hex,
            sources=[
                control_pb2.SourceFile(name=name, path=str(path))
                for name, path in order.sources.items()
            ],
            reuse=order.reuse,
        )
        reply = await self._call(self._stub.SubmitJob, request, _SUBMIT_TIMEOUT_S)
        if not reply.similar_prompt:
            return Taken(str(reply.job_id), str(reply.video))
        return Taken(
            str(reply.job_id), str(reply.video), str(reply.similar_prompt), float(reply.likeness)
        )

    async def quote(self, spec_json: str, reuse: str) -> dict[str, Any]:
        """What a job would come to now; nothing is posted. See `Jobs.quote`."""
        from reelmesh.proto import control_pb2

        request = control_pb2.SubmitJobRequest(spec_json=spec_json, reuse=reuse)
        return await self._json(self._stub.QuoteJob, request, _SUBMIT_TIMEOUT_S)

    async def jobs(self, limit: int) -> dict[str, Any]:
        """The newest jobs, at most `limit`."""
        from reelmesh.proto import control_pb2

        return await self._json(self._stub.ListJobs, control_pb2.ListJobsRequest(limit=limit))

    async def offers(self) -> list[dict[str, Any]]:
        """What providers advertise now; each as `coordinator.offers.LiveOffer`."""
        from reelmesh.proto import control_pb2

        told = await self._json(self._stub.ListOffers, control_pb2.ListOffersRequest())
        return list(told["offers"])

    async def show(self, job_id: str) -> dict[str, Any]:
        """All that is known of one job."""
        from reelmesh.proto import control_pb2

        return await self._json(self._stub.ShowJob, control_pb2.ShowJobRequest(job_id=job_id))

    async def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop a job; what was delivered is paid, the rest comes back."""
        from reelmesh.proto import control_pb2

        return await self._json(self._stub.CancelJob, control_pb2.CancelJobRequest(job_id=job_id))

    async def watch(self, job_id: str, after: int = 0) -> AsyncIterator[Event]:
        """What happened to a job since `after`, then what happens, until it is over."""
        import grpc

        from reelmesh.proto import control_pb2

        call = self._stub.WatchJob(control_pb2.WatchJobRequest(job_id=job_id, after=after))
        try:
            async for event in call:
                data = json.loads(event.data_json or "{}")
                yield Event(event.sequence, event.at_ms, event.type, data)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error) from error
        finally:
            call.cancel()

    async def _json(
        self, method: Any, request: Any, timeout: float = _CALL_TIMEOUT_S
    ) -> dict[str, Any]:
        reply: control_pb2.JsonReply = await self._call(method, request, timeout)
        return cast("dict[str, Any]", json.loads(reply.json))

    async def _call(self, method: Any, request: Any, timeout: float) -> Any:
        import grpc

        try:
            return await method(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error) from error

    def _explain(self, error: grpc.aio.AioRpcError) -> ReelmeshError:
        import grpc

        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return NodeNotRunning(
                f"no coordinator answers at {self._socket}",
                "start one: reelmesh coordinator run, or a local market: reelmesh devnet up",
            )
        return refusal(error.details() or error.code().name)


def refusal(details: str) -> ReelmeshError:
    """Turn the details of a refused call into the error that the node meant.

    A node sends {"message", "hint", "exit_code"}; anything else is shown as it is.
    """
    try:
        told = json.loads(details)
        error = ControlRefused(str(told["message"]), str(told.get("hint", "")))
        error.exit_code = int(told.get("exit_code", UserError.exit_code))
    except (ValueError, KeyError, TypeError):
        return ControlRefused(details)
    return error
