"""Slots at work: each lane owns one worker and takes leases from the open jobs in turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any

from reelmesh.errors import PeerError
from reelmesh.node.logging import get_logger
from reelmesh.node.provider.home import short
from reelmesh.node.provider.ledger import BadVoucher, Unpaid
from reelmesh.node.provider.session import BadTotal, JobSession
from reelmesh.node.provider.state import ProviderState, TaskRecord
from reelmesh.node.provider.work import Kit, LeaseRun
from reelmesh.node.rpc.errors import CallTimedOut, Refused, Unreachable
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import ether

log = get_logger(__name__)

_LONG_WAIT_MS = 15_000
_SHORT_WAIT_MS = 500
_ROUND_MS = 2_000
"""All jobs are asked within this time, so that none waits in vain for a consent."""
_LEAST_TURN_S = 0.2
_FATAL = frozenset({"not_awarded", "permission_denied", "not_found", "bad_certificate"})


class Board:
    """The jobs that may have work, over all lanes."""

    def __init__(self, vanish_ms: int, clock_ms: Callable[[], int]) -> None:
        self._vanish_ms = vanish_ms
        self._clock_ms = clock_ms
        self._jobs: dict[str, JobSession] = {}
        self._changed = asyncio.Condition()
        self._turn = 0

    async def add(self, job: JobSession) -> None:
        """A job was awarded, or found again after a restart."""
        async with self._changed:
            self._jobs[job.record.job_id] = job
            self._changed.notify_all()

    def get(self, job_id: str) -> JobSession | None:
        """The session of a job, if it is on the board."""
        return self._jobs.get(job_id)

    def working(self) -> list[JobSession]:
        """Jobs that leases are asked of."""
        return [job for job in self._jobs.values() if job.working]

    def all(self) -> list[JobSession]:
        """Every job on the board, also those that only pay is awaited from."""
        return list(self._jobs.values())

    def drop(self, job_id: str) -> JobSession | None:
        """Take a job off the board."""
        return self._jobs.pop(job_id, None)

    async def next(self) -> JobSession:
        """The next job in turn; waits while there is none."""
        async with self._changed:
            await self._changed.wait_for(self.working)
        jobs = self.working()
        self._turn += 1
        return jobs[self._turn % len(jobs)]

    def wait_ms(self) -> int:
        """How long a lease call may be held open: briefly while another job might have work."""
        jobs = len(self.working())
        return _LONG_WAIT_MS if jobs <= 1 else min(_SHORT_WAIT_MS, _ROUND_MS // jobs)

    def vanished(self, job: JobSession) -> bool:
        """Whether a coordinator has been silent for too long."""
        since = job.silent_since_ms
        return since is not None and self._clock_ms() - since > self._vanish_ms


class Lane:
    """One slot. A result is delivered while the next subtask runs.

    Args:
        stopped: Called when a job gives no more work, so that its pay is looked after.
        resident: The stages whose model is loaded.
        failed: Called with a stage and the MiB it needed when a run went out of memory.

    Attributes:
        run: The subtask that runs.
        delivering: The results on their way; two at most, and no further lease meanwhile.
    """

    def __init__(
        self,
        board: Board,
        kit: Kit,
        state: ProviderState,
        clock_ms: Callable[[], int],
        stopped: Callable[[JobSession], Awaitable[None]],
        resident: Callable[[], list[str]],
        failed: Callable[[str, int], None],
    ) -> None:
        self._board = board
        self._kit = kit
        self._state = state
        self._clock_ms = clock_ms
        self._stopped = stopped
        self._resident = resident
        self._failed = failed
        self.run: LeaseRun | None = None
        self.delivering: list[LeaseRun] = []
        self._leases: dict[asyncio.Task[bool], JobSession] = {}

    async def serve(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                job = await self._board.next()
                began = time.monotonic()
                worked = await self._turn(job, self._board.wait_ms())
                # an answer that comes at once, again and again, must not become a busy loop
                if not worked and time.monotonic() - began < _LEAST_TURN_S:
                    await asyncio.sleep(_LEAST_TURN_S)
        finally:
            for lease in self._leases:
                lease.cancel()
            await asyncio.gather(*self._leases, return_exceptions=True)

    async def attend(self, job: JobSession) -> None:
        """Say that this node is there though it takes no work now, and agree to a final total."""
        await self._turn(job, 0, busy=True)

    async def _turn(self, job: JobSession, wait_ms: int, *, busy: bool = False) -> bool:
        """Ask once. Returns whether a subtask was run."""

        async def ask() -> bool:
            reply = await job.lease(wait_ms, self._resident(), busy=busy)
            return await self._handle(job, reply, busy=busy)

        return await self._bear(job, ask())

    async def _bear(self, job: JobSession, doing: Coroutine[Any, Any, bool]) -> bool:
        """What it returns, or False; whatever goes wrong ends this job here, or nothing at all."""
        try:
            return await doing
        except (Unreachable, CallTimedOut):
            if self._board.vanished(job):
                await self._stop(job, "coordinator_vanished")
        except Refused as error:
            log.warning("lease_refused", job=short(job.record.job_id), reason=error.reason)
            if error.reason in _FATAL:
                await self._stop(job, error.reason)
        except (Unpaid, BadVoucher, BadTotal) as error:
            log.warning("job_left", job=short(job.record.job_id), why=error.message)
            await self._stop(job, "unpaid")
        except PeerError as error:
            log.warning("coordinator_misbehaves", job=short(job.record.job_id), why=error.message)
        except Exception:
            # nothing that one coordinator says may end the node
            log.exception("lane_failed", job=short(job.record.job_id))
            await self._stop(job, "internal")
        return False

    async def _handle(
        self, job: JobSession, reply: work_pb2.LeaseReply, *, busy: bool = False
    ) -> bool:
        match reply.WhichOneof("what"):
            case "grant" if busy:
                await job.give_back(reply.grant, "cancelled", "no slot is free", retry=True)
            case "grant":
                job.still_paid()
                return await self._work(job, reply.grant)
            case "settlement":
                # A total agreed to before a result is paid for would cut that off; what runs for
                # other jobs must not hold this up, as a consent is waited for only briefly.
                await _over([lease for lease, whose in self._leases.items() if whose is job])
                total = await job.agree(reply.settlement)
                log.info("agreed_to_total", job=short(job.record.job_id), eth=ether(total))
            case "closed":
                await self._stop(job, reply.closed[:40] or "closed")
            case _:
                pass
        return False

    async def _work(self, job: JobSession, grant: work_pb2.Grant) -> bool:
        """Run a subtask; returns once its result is on its way, and no other is before it."""
        earlier = list(self._leases)
        run = self.run = LeaseRun(job, grant, self._kit)
        lease = asyncio.create_task(self._bear(job, self._see_through(job, run)), name="lease")
        self._leases[lease] = job
        lease.add_done_callback(self._leases.pop)
        ran = asyncio.create_task(run.ran.wait(), name="ran")
        try:
            await asyncio.wait({lease, ran}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ran.cancel()
            self.run = None
        if not lease.done():
            self.delivering.append(run)
            lease.add_done_callback(lambda _: self.delivering.remove(run))
        await _over(earlier)
        return run.ran.is_set()

    async def _see_through(self, job: JobSession, run: LeaseRun) -> bool:
        began, grant = self._clock_ms(), run.grant
        log.info(
            "running", job=short(job.record.job_id), subtask=grant.subtask, attempt=grant.attempt
        )
        outcome = "shutting_down"
        try:
            outcome = await run.go()
        except (Unpaid, BadVoucher):
            outcome = "unpaid"
            raise
        finally:
            if run.needed_mb:
                self._failed(run.offering, run.needed_mb)
            run_ms = self._clock_ms() - began
            await asyncio.shield(self._note(job, grant, outcome, run_ms))
        return outcome == "done"

    async def _note(
        self, job: JobSession, grant: work_pb2.Grant, outcome: str, run_ms: int
    ) -> None:
        price = int(grant.price) if grant.price.isdecimal() and len(grant.price) <= 39 else 0
        task = TaskRecord(
            job_id=job.record.job_id,
            subtask=grant.subtask[:64],
            stage=grant.stage[:64],
            outcome=outcome[:40],
            price=price if outcome == "done" else 0,
            run_ms=run_ms,
            ended_ms=self._clock_ms(),
        )
        await self._state.add_task(task)
        say = log.info if outcome == "done" else log.warning
        say(
            "delivered" if outcome == "done" else "not_delivered",
            job=short(job.record.job_id),
            subtask=grant.subtask,
            outcome=outcome,
            run_ms=run_ms,
            promised_eth=ether(job.ledger.promised),
        )

    async def _stop(self, job: JobSession, reason: str) -> None:
        if job.working:
            log.info("job_closed", job=short(job.record.job_id), reason=reason)
        await job.stop(reason)
        await self._stopped(job)


async def _over(leases: Collection[asyncio.Task[bool]]) -> None:
    """Wait until these leases are over."""
    if leases:
        await asyncio.wait(leases)


class Attendant:
    """Keeps jobs company while every lane is at work for others.

    A coordinator asks for consent within seconds, and takes who is silent for absent; neither must
    depend on a free slot.
    """

    def __init__(self, board: Board, lanes: Sequence[Lane], every_s: float = 1.0) -> None:
        self._board = board
        self._lanes = lanes
        self._every_s = every_s
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Ask now and then until cancelled."""
        try:
            while True:
                for job in self._neglected():
                    asking = self._asking.get(job.record.job_id)
                    if asking is None or asking.done():
                        # each by itself: a silent coordinator must not hold up the others
                        task = asyncio.create_task(self._lanes[0].attend(job), name="attend")
                        self._asking[job.record.job_id] = task
                await asyncio.sleep(self._every_s)
                self._asking = {job: t for job, t in self._asking.items() if not t.done()}
        finally:
            for task in self._asking.values():
                task.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _neglected(self) -> list[JobSession]:
        runs = [lane.run for lane in self._lanes]
        if not all(runs):
            return []  # a free lane asks every job in turn
        held = [run.grant.job_id for run in runs if run is not None]
        return [job for job in self._board.working() if any(one != job.job_id for one in held)]
