"""Drives one job: events in, one after another; on disk first; then what they ask for is done."""

# ruff: noqa: BLE001 - an effect may fail in any way; the job goes on and it is tried again

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

import structlog

from reelmesh.errors import ReelmeshError, StorageError
from reelmesh.node.coordinator.feed import feed_items
from reelmesh.node.coordinator.feedlog import FeedLog
from reelmesh.node.coordinator.records import JobRecord
from reelmesh.node.coordinator.services import Services
from reelmesh.node.storage.journal import Entry
from reelmesh.scheduler.job.due import due
from reelmesh.scheduler.job.effects import Once, Standing
from reelmesh.scheduler.job.events import CallClosed, Event, Resumed
from reelmesh.scheduler.job.standing import standing
from reelmesh.scheduler.job.state import JobState, Phase
from reelmesh.scheduler.job.transition import apply

log = structlog.stdlib.get_logger(__name__)

_RETRY_S = (0.5, 15.0)
_SHORTEST_SLEEP_S = 0.02
_DISK_EXCUSE_MS = 300_000

_RUNNING: ContextVar[Standing | None] = ContextVar("running", default=None)
"""The standing effect in whose task an event comes up."""

Effects = Callable[["JobDriver", "Standing | Once"], Awaitable[None]]
"""Runs one effect; a standing one returns when there is nothing more to do for it."""


class JobDriver:
    """One job under way.

    Args:
        record: The job's fixed part.
        state: As replayed from the journal.
        sequence: Of the next event.
        feed: Where watchers read.
        services: The node's parts.
        effects: What runs effects.
    """

    def __init__(
        self,
        record: JobRecord,
        state: JobState,
        sequence: int,
        feed: FeedLog,
        services: Services,
        effects: Effects,
    ) -> None:
        self.record = record
        self.state = state
        self.services = services
        self.feed_log = feed
        self._sequence = sequence
        self._effects = effects
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._standing: dict[Standing, asyncio.Task[None]] = {}
        self._once: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._stopped = False
        self._disk_failed_ms: int | None = None
        self._grace_due = False
        self._log = log.bind(job=record.job_id[:10])

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to this job any more."""
        return self.state.phase is Phase.ENDED

    async def start(self, *, resumed: bool) -> None:
        """Go on from the state: its standing effects and its deadlines."""
        if resumed:
            await self.feed(Resumed(at_ms=self.services.clock_ms()))
        self._reconcile()
        self._timer = asyncio.create_task(self._watch_deadlines())

    async def stop(self) -> None:
        """Stop driving; the journal holds all that is needed to go on."""
        self._stopped = True
        tasks = [*self._standing.values(), *self._once]
        if self._timer is not None:
            tasks.append(self._timer)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.feed_log.flush()

    async def feed(self, event: Event) -> JobState:
        """Take one event: on disk, then in the state, then its effects.

        Returns the state after it, which is the old one where the event does not fit. Raises
        StorageError, with nothing changed, when the journal cannot be written.
        """
        # In a task of its own: whoever asked may be cancelled, but a write once begun is finished
        # and believed.
        return await asyncio.shield(asyncio.create_task(self._take(event)))

    async def wait_change(self, timeout_s: float) -> None:
        """Return at the next change of state, or after so many seconds."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), timeout_s)

    def disk_failed(self) -> None:
        """This node could not write: what others were late with meanwhile is not their fault."""
        self._disk_failed_ms = self.services.clock_ms()
        self._grace_due = True

    def disk_failed_lately(self) -> bool:
        """Whether a provider may rightly say that this node's disk was why it gave up."""
        since = self._disk_failed_ms
        return since is not None and self.services.clock_ms() - since < _DISK_EXCUSE_MS

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Show watchers something that changes nothing."""
        self.feed_log.note(self.services.clock_ms(), kind, data)

    async def _take(self, event: Event) -> JobState:
        async with self._lock:
            before = self.state
            after, once = apply(before, event)
            if after is before or self._stopped:
                return before
            entry = Entry(self._sequence, event.at_ms, event.type, event.model_dump_json())
            items = feed_items(event, before, after)
            ended = after.phase is Phase.ENDED
            try:
                await self.feed_log.append_event(self.record.job_id, entry, items, ended=ended)
            except StorageError:
                self.disk_failed()
                raise
            self._sequence += 1
            self.state = after
            self._changed.set()
            self._changed = asyncio.Event()
            self._log.debug("event", type=entry.type, phase=after.phase)
            self._act(once)
        return after

    def _act(self, once: Sequence[Once]) -> None:
        for effect in once:
            task = asyncio.create_task(self._run_once(effect))
            self._once.add(task)
            task.add_done_callback(self._once.discard)
        self._reconcile()

    def _reconcile(self) -> None:
        """Start the standing effects that are new, stop those that are no longer asked for."""
        if self._stopped:
            return
        wanted = standing(self.state)
        for effect in [e for e in self._standing if e not in wanted]:
            task = self._standing.pop(effect)
            # An effect that brought the event which ends it must come to its own end.
            if effect != _RUNNING.get():
                task.cancel()
        for effect in wanted:
            if effect not in self._standing:
                self._standing[effect] = asyncio.create_task(self._run_standing(effect))

    async def _run_standing(self, effect: Standing) -> None:
        _RUNNING.set(effect)
        wait_s = _RETRY_S[0]
        while not self._stopped:
            try:
                await self._effects(self, effect)
            except ReelmeshError as error:
                name = type(effect).__name__
                self._log.warning("effect_retried", effect=name, error=str(error), in_s=wait_s)
            except Exception:
                self._log.exception("effect_failed", effect=type(effect).__name__)
            else:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _RETRY_S[1])

    async def _run_once(self, effect: Once) -> None:
        try:
            await self._effects(self, effect)
        except ReelmeshError as error:
            self._log.warning("effect_failed", effect=type(effect).__name__, error=str(error))
        except Exception:
            self._log.exception("effect_failed", effect=type(effect).__name__)

    async def _watch_deadlines(self) -> None:
        while not self._stopped and not self.ended:
            found = due(self.state)
            now_ms = self.services.clock_ms()
            if found is None or found.at_ms > now_ms:
                left_s = 3600.0 if found is None else (found.at_ms - now_ms) / 1000
                await self.wait_change(max(left_s, _SHORTEST_SLEEP_S))
                continue
            try:
                state = self.state
                if self._grace_due:
                    self._grace_due = False  # set again where this cannot be written either
                    await self.feed(Resumed(at_ms=now_ms))
                    continue
                await self.feed(self._at(found.event, now_ms))
                if self.state is state:
                    await asyncio.sleep(_SHORTEST_SLEEP_S)
            except ReelmeshError as error:
                self._log.error("deadline_not_handled", error=str(error))
                await asyncio.sleep(1.0)
            except Exception:
                # without this watch nothing would ever end the job's waits
                self._log.exception("deadline_not_handled")
                await asyncio.sleep(1.0)

    def _at(self, event: Event, now_ms: int) -> Event:
        update: dict[str, object] = {"at_ms": now_ms}
        if isinstance(event, CallClosed):
            update["peers"] = len(self.services.host.peers())
        return event.model_copy(update=update)
