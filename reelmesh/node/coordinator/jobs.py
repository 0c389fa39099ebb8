"""All jobs of this coordinator: taking new ones, going on with old ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from reelmesh.errors import ChainError, UserError
from reelmesh.node.coordinator.delivering import write_result
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.effects import run_effect
from reelmesh.node.coordinator.feedlog import FeedLog
from reelmesh.node.coordinator.records import JobRecord, Reused, Similar, created
from reelmesh.node.coordinator.resembling import (
    cut_as_before,
    cut_like_similar,
    seed_of_similar,
)
from reelmesh.node.coordinator.reusing import Cut, cut
from reelmesh.node.coordinator.services import Services
from reelmesh.node.coordinator.sources import keep_sources
from reelmesh.node.coordinator.submitting import (
    BadRequest,
    Request,
    check_out_dir,
    check_reuse,
    first_reserves,
    like_job,
    limits_for,
    make_record,
    reference_rates,
)
from reelmesh.node.coordinator.views import reused_facts
from reelmesh.node.storage.journal import Entry, JobRow
from reelmesh.scheduler.cost import least_budget
from reelmesh.scheduler.ids import JobId
from reelmesh.scheduler.job.choosing import struck_out
from reelmesh.scheduler.job.events import EVENT, CancelRequested, JobCreated
from reelmesh.scheduler.job.state import JobState, Outcome, Phase
from reelmesh.scheduler.job.transition import create, replay
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.templates import make_plan

log = structlog.stdlib.get_logger(__name__)

_POSTING_POLL_S = 60.0
_POSTING_WAIT_S = 60.0
_ALL = 1_000_000


class NoSuchJob(UserError):
    """This coordinator has no job of that id."""


class PostingUndecided(ChainError):
    """A job's nonce is not free before the posting before it is decided. Nothing was posted."""


class NameTaken(UserError):
    """Another job's result is, or will be, in that very file. Nothing was posted."""


class JobOver(UserError):
    """The job has ended, so that nothing can be changed any more."""


@dataclass(frozen=True)
class Submitted:
    """What a submission came to.

    Attributes:
        job_id: The new job; or the earlier one that made the video, where nothing had to be done.
        video: The file that was written at once, at no cost; None where a job was begun.
        similar: The prompt that such a file was made for, where that is another.
    """

    job_id: JobId
    video: Path | None = None
    similar: Similar | None = None


class Jobs:
    """The jobs under way, by id, and the journal for those that are over.

    Attributes:
        running: Job id in bytes to the job; what the bid and work desks read.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.running: dict[bytes, JobDriver] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """Go on with every job that has not ended."""
        for row in await self._services.journal.jobs(_ALL, open_only=True):
            record, state, events = await self._load(row)
            if state.phase is Phase.POSTING:
                await self._services.posting.acquire()
            job = await self._add(record, state, events)
            self._readmit(job)
            await job.start(resumed=True)
            log.info("job_resumed", job=record.job_id[:10], phase=state.phase, events=events)
            if state.phase is Phase.POSTING:
                self._release_when_posted(job)

    async def stop(self) -> None:
        """Stop driving; everything is in the journal."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(job.stop() for job in self.running.values()))

    async def quote(self, spec_json: str, reuse: str) -> dict[str, Any]:
        """What a job would come to now. Money is decimal text of wei.

        Returns least and least_whole: the least sum that the work left, and the whole, is put to
        the market for; subtasks: how many are left; reused: how many are not; seed: with reuse
        "any", which is "similar" whatever the seed, of the clip that would be taken, or null.
        """
        services = self._services
        spec = parse_spec(spec_json)
        whole = make_plan(spec)
        seed = await seed_of_similar(services, whole) if reuse == "any" else None
        if seed is not None:
            whole = make_plan(spec.model_copy(update={"seed": seed}))
        reuse = "similar" if reuse == "any" else reuse
        check_reuse(reuse)
        left = (await self._cut(whole, reuse)).plan
        rates = reference_rates(services.config)
        count = len(left.subtasks) if left is not None else 0
        return {
            "least": str(least_budget(left, rates) if left is not None else 0),
            "least_whole": str(least_budget(whole, rates)),
            "subtasks": count,
            "reused": len(whole.subtasks) - count,
            "seed": seed,
        }

    async def submit(self, request: Request) -> Submitted:
        """Write a job down and begin it; the same request id gives the same job.

        Where the whole video is kept already, it is given again and nothing is posted.
        """
        services = self._services
        if (known := await self._known(request)) is not None:
            return known
        found = await self._cut(request.plan, request.reuse)
        # While this waits for its turn, what it takes in must not make room for other results.
        with services.kept.holding([one.output.sha256 for one in found.reused]):
            if found.plan is None:
                (made,) = found.reused
                return await self._give_again(request, made)
            return await self._post(request, found.plan, found.reused)

    async def _cut(self, plan: Plan, reuse: str) -> Cut:
        """The plan less what may be taken in. Raises CannotCompare, ClipGone, NoSuchJob."""
        if reuse == "off":
            return Cut(plan)
        if reuse == "similar":
            return await cut_like_similar(self._services, plan)
        if (before := like_job(reuse)) is not None:
            return await cut_as_before(self._services, plan, (await self.record(before)).similar)
        return await cut(self._services, plan)

    async def _post(self, request: Request, plan: Plan, reused: tuple[Reused, ...]) -> Submitted:
        services = self._services
        shares = first_reserves(services.config, plan, request.budget, request.plan)
        await keep_sources(services.store, request, plan)
        try:
            async with asyncio.timeout(_POSTING_WAIT_S):
                await services.posting.acquire()
        except TimeoutError:
            raise PostingUndecided(
                "another job's posting is still undecided on chain",
                "reelmesh job list shows it; submit again once it is posted",
            ) from None
        try:
            if (known := await self._known(request)) is not None:
                services.posting.release()
                return known
            await self._check_name(request)
            record = await make_record(services, request, plan, reused)
            await services.store.put_bytes(request.spec.canonical())
            first = created(
                record,
                shares,
                limits_for(services.config, request.deadline_s),
            )
            row = JobRow(
                record.job_id,
                request.request_id,
                record.created_ms,
                ended=False,
                record=record.model_dump_json(),
            )
        except BaseException:
            services.posting.release()
            raise
        # In a task of its own: whoever asked may hang up, but a job that is written down is begun.
        await asyncio.shield(asyncio.create_task(self._begin(row, record, first)))
        return Submitted(record.job_id)

    async def _check_name(self, request: Request) -> None:
        """Two jobs must not write one file. Raises NameTaken."""
        target = request.out_dir / f"{request.name}.mp4"
        for job in self.running.values():
            if (job.record.out_dir, job.record.name) != (request.out_dir, request.name):
                continue
            comes = job.state.outcome is Outcome.OPEN
            written = job.state.video is None or job.record.video_path.exists()
            if comes or (job.state.outcome is Outcome.DELIVERED and written):
                raise _taken(target, job.record)
        if not await asyncio.to_thread(target.exists):
            return
        for row in await self._services.journal.ended_jobs_named(request.name):
            record, state, _ = await self._load(row)  # of before the last start
            if record.video_path == target and state.outcome is Outcome.DELIVERED:
                raise _taken(target, record)

    async def _begin(self, row: JobRow, record: JobRecord, first: JobCreated) -> None:
        """Write a new job down and begin it; lets go of `posting` once that is decided."""
        services = self._services
        try:
            entry = Entry(0, first.at_ms, first.type, first.model_dump_json())
            await services.journal.add_job(row, entry)
            job = await self._add(record, create(first), 1)
        except BaseException:
            services.posting.release()
            raise
        self._release_when_posted(job)
        await job.start(resumed=False)
        if record.reused:
            job.note("reused", reused_facts(record))
        log.info("job_submitted", job=record.job_id, budget_wei=record.terms.budget)

    async def _known(self, request: Request) -> Submitted | None:
        if request.request_id is None:
            return None
        known = await self._services.journal.job_of_request(request.request_id)
        return Submitted(JobId(known.job_id)) if known is not None else None

    async def _give_again(self, request: Request, made: Reused) -> Submitted:
        """Write a video that is kept already. Raises BadRequest, NameTaken, StorageError."""
        await self._check_name(request)
        target = request.out_dir / f"{request.name}.mp4"
        await check_out_dir(request.out_dir)
        try:
            source = await self._services.store.path(made.output.sha256)
            await asyncio.to_thread(write_result, request.spec, source, target)
        except OSError as error:
            raise BadRequest(f"{target} cannot be written: {error.strerror}") from error
        log.info("video_given_again", job=made.job_id[:10])
        return Submitted(made.job_id, target, made.similar)

    async def cancel(self, job_id: JobId, reason: str) -> JobState:
        """End a job: leases are cancelled, vouchers so far paid, the rest refunded."""
        job = self.running.get(bytes.fromhex(job_id[2:]))
        if job is None:
            await self.record(job_id)
            raise JobOver(f"job {job_id} is over", "reelmesh job show tells how it ended")
        return await job.feed(CancelRequested(at_ms=self._services.clock_ms(), reason=reason))

    async def record(self, job_id: JobId) -> JobRecord:
        """A job's fixed part. Raises NoSuchJob."""
        job = self.running.get(bytes.fromhex(job_id[2:]))
        return job.record if job is not None else (await self._row(job_id))[0]

    async def state(self, job_id: JobId) -> tuple[JobRecord, JobState]:
        """A job as it stands, under way or over. Raises NoSuchJob."""
        job = self.running.get(bytes.fromhex(job_id[2:]))
        if job is not None:
            return job.record, job.state
        return await self._row(job_id)

    async def newest(self, limit: int) -> list[tuple[JobRecord, JobState]]:
        """The newest jobs, newest first."""
        found = []
        for row in await self._services.journal.jobs(limit):
            job = self.running.get(bytes.fromhex(row.job_id[2:]))
            found.append((job.record, job.state) if job else (await self._load(row))[:2])
        return found

    async def feed(self, job_id: JobId) -> FeedLog:
        """A job's feed, to follow. Raises NoSuchJob."""
        job = self.running.get(bytes.fromhex(job_id[2:]))
        if job is not None:
            return job.feed_log
        await self._row(job_id)
        return FeedLog(self._services.journal, job_id, 0)

    def count(self) -> Mapping[str, int]:
        """How many jobs are in each phase."""
        found: dict[str, int] = {}
        for job in self.running.values():
            found[str(job.state.phase)] = found.get(str(job.state.phase), 0) + 1
        return found

    async def _row(self, job_id: JobId) -> tuple[JobRecord, JobState]:
        row = await self._services.journal.job(job_id)
        if row is None:
            raise NoSuchJob(f"no job {job_id[:80]} here", "reelmesh job list shows all")
        record, state, _ = await self._load(row)
        return record, state

    async def _load(self, row: JobRow) -> tuple[JobRecord, JobState, int]:
        entries = await self._services.journal.events(row.job_id)
        state = await asyncio.to_thread(_replay, entries)
        return JobRecord.model_validate_json(row.record), state, len(entries)

    async def _add(self, record: JobRecord, state: JobState, sequence: int) -> JobDriver:
        last = await self._services.journal.last_feed(record.job_id)
        feed = FeedLog(self._services.journal, record.job_id, last)
        job = JobDriver(record, state, sequence, feed, self._services, run_effect)
        self.running[record.job_bytes] = job
        return job

    def _readmit(self, job: JobDriver) -> None:
        """Trust again, after a restart, the certificates of those who have awards."""
        for provider in job.state.providers:
            if not struck_out(job.state, provider):
                certificate = bytes.fromhex(job.state.offers[provider].certificate)
                try:
                    self._services.server.allow(provider, certificate)
                except Exception as error:  # noqa: BLE001 - expired: it bids with a new one
                    log.info("certificate_not_readmitted", provider=provider, why=str(error))

    def _release_when_posted(self, job: JobDriver) -> None:
        async def wait() -> None:
            try:
                while job.state.phase is Phase.POSTING:
                    await job.wait_change(_POSTING_POLL_S)
            finally:
                self._services.posting.release()

        task = asyncio.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _taken(target: Path, record: JobRecord) -> NameTaken:
    return NameTaken(
        f"{target} is the result of job {record.job_id}",
        "give another --name, or another folder with --out",
    )


def _replay(entries: list[Entry]) -> JobState:
    return replay(EVENT.validate_json(entry.body) for entry in entries)
