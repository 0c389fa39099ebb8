"""One lease, from its inputs to its attestation."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from reelmesh.contracts.eip712 import Attestation
from reelmesh.errors import PeerError, ReelmeshError, StorageError
from reelmesh.node.logging import get_logger
from reelmesh.node.proof import artifacts_root, trajectory_root
from reelmesh.node.provider.ledger import BadVoucher, Unpaid
from reelmesh.node.provider.session import BadTotal, JobSession
from reelmesh.node.rpc.errors import CallTimedOut, CoordinatorStorage, Refused, Unreachable
from reelmesh.node.stages import StageFailed
from reelmesh.node.storage.artifacts import ArtifactStore, CorruptArtifact, MissingArtifact
from reelmesh.node.storage.artifacts_writer import StorageFull, TooManyBytes, WrongHash
from reelmesh.node.worker import RunRequest, RunResult, WorkerError, WorkerOutOfMemory
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import JobId, SubtaskId, subtask_key
from reelmesh.scheduler.models import offering
from reelmesh.scheduler.stages import (
    InvalidParams,
    StageEntry,
    StageParams,
    UnknownStage,
    entry,
    parse_params,
)

log = get_logger(__name__)

_REMEMBERED = 16
_GIVE_BACK_S = 2.0
_PATIENCE = 3
"""Heartbeats between two tries at a coordinator that cannot do its part now."""
OnProgress = Callable[[float, str], None]


class RunsStages(Protocol):
    """The worker process, as far as a lease needs it."""

    async def run(self, request: RunRequest, on_progress: OnProgress | None = None) -> RunResult:
        """One run; cancelling it stops it at once."""


@dataclass(frozen=True)
class Finished:
    """A run's results in the store, ready to be sent, again if need be."""

    refs: tuple[work_pb2.ArtifactRef, ...]
    trajectory: bytes
    model_hash: bytes
    started_at_ms: int
    finished_at_ms: int


@dataclass
class Kit:
    """What a lease is worked off with.

    Attributes:
        heartbeat_s: Between two progress reports.
        vanish_s: How long a coordinator may be silent before its lease is given up.
        remembered: Results of late, by what went in: work that a broken connection or a
            restarted coordinator asks for again is sent again, not run again.
    """

    worker: RunsStages
    store: ArtifactStore
    device_class: str
    heartbeat_s: float = 0.5
    vanish_s: float = 120.0
    remembered: dict[str, Finished] = field(default_factory=dict)

    def remember(self, key: str, finished: Finished) -> None:
        """Keep a result, and forget the oldest beyond a few."""
        self.remembered[key] = finished
        while len(self.remembered) > _REMEMBERED:
            del self.remembered[next(iter(self.remembered))]


class LeaseRun:
    """Works one grant off.

    Attributes:
        fraction, note: How far the run is, for reports and for `provider status`.
        needed_mb: What the run needed, MiB, when it went out of memory; else 0.
        ran: Set when the slot is free: the result is there and only has to be delivered.
        offering: The stage, with the production model where the grant names one.
    """

    def __init__(self, job: JobSession, grant: work_pb2.Grant, kit: Kit) -> None:
        self._job = job
        self.grant = grant
        self._kit = kit
        self.fraction = 0.0
        self.note = ""
        self.needed_mb = 0
        self.ran = asyncio.Event()
        self.offering = grant.stage

    async def go(self) -> str:
        """Run it to its end; returns "done" or a reason code.

        Raises Unpaid and BadVoucher, which end the job and not just the lease. When cancelled, it
        gives the lease back within two seconds.
        """
        beat = asyncio.create_task(self._heartbeat(), name="heartbeat")
        work = asyncio.create_task(self._work(), name="lease")
        try:
            await asyncio.wait({beat, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return "done"
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            return await self._failed(beat.result(), "the coordinator said to stop", retry=True)
        except asyncio.CancelledError:
            work.cancel()
            await self._give_back_quickly("shutting_down", "this node is shutting down")
            raise
        except (Unpaid, BadVoucher) as error:
            await self._give_back_quickly("unpaid", error.message)
            raise
        except Exception as error:
            reason, retry = reason_for(error)
            if isinstance(error, WorkerOutOfMemory):
                self.needed_mb = error.needed_mb
            if reason == "internal":
                log.exception("lease_failed", subtask=self.grant.subtask)
            message = error.message if isinstance(error, ReelmeshError) else type(error).__name__
            return await self._failed(reason, message, retry=retry)
        finally:
            for task in (beat, work):
                task.cancel()
            await asyncio.gather(beat, work, return_exceptions=True)

    async def _work(self) -> None:
        stage = self._check()
        inputs = {ref.name: ref for ref in self.grant.inputs}
        key = _memory_key(self.grant)
        finished = self._kit.remembered.get(key)
        files = None if finished is None else await self._files(finished)
        if finished is None or files is None:
            finished = await self._run(stage, inputs)
            self._kit.remember(key, finished)
            files = [await self._kit.store.path(ref.sha256) for ref in finished.refs]
        self.fraction, self.note = 1.0, "delivering"
        self.ran.set()
        await self._insist(lambda: self._job.deliver(self.grant, finished.refs, files))
        attestation = self._attestation(stage, inputs, finished)
        await self._insist(lambda: self._job.attest(self.grant, attestation))

    def _check(self) -> StageEntry[StageParams]:
        stage = entry(self.grant.stage, self.grant.stage_version)
        params = parse_params(self.grant.stage, self.grant.params_json)
        given = {ref.name for ref in self.grant.inputs}
        if given != set(stage.inputs_for(params)) or len(given) != len(self.grant.inputs):
            raise StageFailed("bad_params", f"{self.grant.stage} does not take {sorted(given)[:8]}")
        if not self._job.price_is_right(self.grant):
            raise StageFailed("bad_price", "the grant pays less than was bid, or passes the award")
        self.offering = offering(stage.name, str(getattr(params, "model", "")))
        if not self._job.record.bid.covers(self.grant.subtask, self.offering, stage.units(params)):
            raise StageFailed("bad_params", "the grant asks for other or more work than was bid on")
        size = sum(size for _, size in {(ref.sha256, ref.size) for ref in self.grant.inputs})
        if size > self._job.record.bid.most_bytes_in(self.grant.subtask, len(given)):
            raise StageFailed("bad_params", "the grant's inputs are far larger than its call said")
        return stage

    async def _run(
        self, stage: StageEntry[StageParams], inputs: dict[str, work_pb2.ArtifactRef]
    ) -> Finished:
        paths = {name: await self._input(ref) for name, ref in inputs.items()}
        request = RunRequest(
            stage=self.grant.stage,
            stage_version=self.grant.stage_version,
            params_json=self.grant.params_json,
            inputs=paths,
            run_limit_s=self.grant.run_limit_ms / 1000,
        )
        result = await self._kit.worker.run(request, self._progressed)
        try:
            refs = [await self._keep(stage, name, path) for name, path in result.outputs.items()]
        finally:
            result.discard()
        return Finished(
            refs=tuple(refs),
            trajectory=trajectory_root(result.trajectory),
            model_hash=result.model_hash,
            started_at_ms=result.started_at_ms,
            finished_at_ms=result.finished_at_ms,
        )

    async def _files(self, finished: Finished) -> list[Path] | None:
        """A remembered result's files; None where one was trimmed or damaged meanwhile."""
        try:
            return [await self._kit.store.path(ref.sha256) for ref in finished.refs]
        except (MissingArtifact, CorruptArtifact):
            return None

    async def _input(self, ref: work_pb2.ArtifactRef) -> Path:
        """A verified local file, fetched where it is missing or damaged."""
        try:
            return await self._kit.store.path(ref.sha256)
        except (MissingArtifact, CorruptArtifact):
            job, store = self._job, self._kit.store
            await self._insist(lambda: job.client.fetch(job.job_id, ref, store))
            return await self._kit.store.path(ref.sha256)

    async def _keep(
        self, stage: StageEntry[StageParams], name: str, path: Path
    ) -> work_pb2.ArtifactRef:
        size = path.stat().st_size
        digest = await self._kit.store.put_file(path)
        kind = stage.outputs.get(name, "")
        return work_pb2.ArtifactRef(name=name, sha256=digest, size=size, kind=kind)

    def _attestation(
        self,
        stage: StageEntry[StageParams],
        inputs: dict[str, work_pb2.ArtifactRef],
        finished: Finished,
    ) -> Attestation:
        job_id = JobId("0x" + self._job.job_id.hex())
        return Attestation(
            job_id=self._job.job_id,
            subtask=subtask_key(job_id, SubtaskId(self.grant.subtask)),
            attempt=self.grant.attempt,
            inputs_root=artifacts_root({name: ref.sha256 for name, ref in inputs.items()}),
            outputs_root=artifacts_root({ref.name: ref.sha256 for ref in finished.refs}),
            trajectory_root=finished.trajectory,
            stage=stage.name,
            stage_version=stage.version,
            model_hash=finished.model_hash,
            device_class=self._kit.device_class,
            started_at=finished.started_at_ms,
            finished_at=finished.finished_at_ms,
        )

    def _progressed(self, fraction: float, note: str) -> None:
        self.fraction, self.note = min(max(fraction, 0.0), 1.0), note[:80]

    async def _heartbeat(self) -> str:
        """Report until told to stop; returns the reason. Reconnects when the stream breaks."""
        while True:
            try:
                async with self._job.client.progress() as stream:
                    while True:
                        reply = await stream.report(self._report())
                        if reply.cancel:
                            return reply.reason[:40] or "cancelled"
                        await asyncio.sleep(self._kit.heartbeat_s)
            except Refused as error:
                if error.reason != CoordinatorStorage.reason:
                    return error.reason
                await asyncio.sleep(self._kit.heartbeat_s)
            except PeerError:
                await asyncio.sleep(self._kit.heartbeat_s)

    def _report(self) -> work_pb2.ProgressReport:
        return work_pb2.ProgressReport(
            job_id=self._job.job_id,
            subtask=self.grant.subtask,
            lease_token=self.grant.lease_token,
            fraction=self.fraction,
            note=self.note,
        )

    async def _insist(self, call: Callable[[], Awaitable[None]]) -> None:
        """Do it again while nobody answers, or the other disk is full, for a bounded time: a
        coordinator may restart, or be given room."""
        last: PeerError | None = None
        try:
            async with asyncio.timeout(self._kit.vanish_s):
                while True:
                    try:
                        return await call()
                    except (Unreachable, CallTimedOut) as error:
                        last = error
                    except Refused as error:
                        if error.reason != CoordinatorStorage.reason:
                            raise
                        last = error
                    log.warning("coordinator_waited_for", subtask=self.grant.subtask, why=str(last))
                    await asyncio.sleep(self._kit.heartbeat_s * _PATIENCE)
        except TimeoutError:
            raise (last or TimeoutError()) from None

    async def _failed(self, reason: str, message: str, *, retry: bool) -> str:
        await self._job.give_back(self.grant, reason, message, retry)
        return reason

    async def _give_back_quickly(self, reason: str, message: str) -> None:
        try:
            async with asyncio.timeout(_GIVE_BACK_S):
                await self._job.give_back(self.grant, reason, message, retry=True)
        except TimeoutError:
            return  # the lease expires by itself


def reason_for(error: BaseException) -> tuple[str, bool]:
    """The reason code for the wire, and whether this node may be given the subtask again."""
    match error:
        case StageFailed():
            return error.reason, False
        case WorkerError():
            return error.reason, error.reason in ("crashed", "timed_out")
        case WrongHash() | TooManyBytes():
            return "bad_input", True
        case UnknownStage() | InvalidParams():
            return "bad_params", False
        case StorageFull():
            return "disk_full", False
        case StorageError():
            return "storage_failed", True
        case BadTotal():
            return "work_is_over", True
        case Refused():
            return error.reason, True
        case TimeoutError() | Unreachable() | CallTimedOut():
            return "coordinator_silent", True
        case _:
            return "internal", True


def _memory_key(grant: work_pb2.Grant) -> str:
    """Equal for leases whose results are equal: stages are deterministic in these."""
    parts = [grant.stage, str(grant.stage_version), grant.params_json]
    parts += sorted(f"{ref.name}={ref.sha256}" for ref in grant.inputs)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
