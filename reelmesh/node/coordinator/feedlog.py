"""One job's feed: numbered, kept in the journal, followed by any number of watchers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import structlog

from reelmesh.errors import StorageError
from reelmesh.node.coordinator.feed import TERMINAL
from reelmesh.node.storage.journal import Entry, Journal

log = structlog.stdlib.get_logger(__name__)

_FLUSH_S = 0.3
_PAGE = 500


class FeedLog:
    """Writes a job's feed in the journal's transactions and wakes its watchers.

    Args:
        last: The highest number that is in the journal already.
    """

    def __init__(self, journal: Journal, job_id: str, last: int) -> None:
        self._journal = journal
        self._job_id = job_id
        self._last = last
        self._pending: list[Entry] = []
        self._flusher: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._grown = asyncio.Event()

    async def append_event(
        self,
        job_id: str,
        event: Entry,
        items: Sequence[tuple[str, dict[str, Any]]],
        *,
        ended: bool,
    ) -> None:
        """Write an event, what waits to be shown, and what the event itself shows."""
        async with self._lock:
            pending, self._pending = self._pending, []
            shown = [self._number(event.at_ms, kind, data) for kind, data in items]
            try:
                await self._journal.append(job_id, event, [*pending, *shown], ended=ended)
            except BaseException:
                self._pending = [*pending, *self._pending]
                raise
        self._wake()

    def note(self, at_ms: int, kind: str, data: dict[str, Any]) -> None:
        """Show something soon; several such are written together."""
        self._pending.append(self._number(at_ms, kind, data))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon())

    async def flush(self) -> None:
        """Write what waits."""
        async with self._lock:
            pending, self._pending = self._pending, []
            if not pending:
                return
            try:
                await self._journal.add_feed(self._job_id, pending)
            except StorageError as error:
                log.warning("feed_not_written", job=self._job_id[:10], error=str(error))
                return
        self._wake()

    async def follow(self, after: int) -> AsyncIterator[Entry]:
        """All entries beyond `after`, those to come too, up to the one that ends a watch."""
        while True:
            grown = self._grown
            page = await self._journal.feed(self._job_id, after, _PAGE)
            for entry in page:
                after = entry.sequence
                yield entry
                if entry.type in TERMINAL:
                    return
            if len(page) < _PAGE:
                await grown.wait()

    def _number(self, at_ms: int, kind: str, data: dict[str, Any]) -> Entry:
        self._last += 1
        body = json.dumps(data, separators=(",", ":"), sort_keys=True)
        return Entry(self._last, at_ms, kind, body)

    async def _flush_soon(self) -> None:
        await asyncio.sleep(_FLUSH_S)
        await self.flush()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()
