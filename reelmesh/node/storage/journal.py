"""The coordinator's write-ahead journal: an event is on disk here before its effects run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reelmesh.errors import StorageError
from reelmesh.node.storage.journal_tables import EVENTS, FEED, JOBS, METADATA


class JournalWriteFailed(StorageError):
    """The journal could not be written; nothing was done, and the caller must not go on."""


class JournalGap(StorageError):
    """An event's number is taken or skips one: two processes write one journal."""


@dataclass(frozen=True)
class Entry:
    """One row of events or feed. `body` is JSON text."""

    sequence: int
    at_ms: int
    type: str
    body: str


@dataclass(frozen=True)
class JobRow:
    """One row of jobs. `record` is JSON text."""

    job_id: str
    request_id: str | None
    created_ms: int
    ended: bool
    record: str


class Journal:
    """Jobs, their events and their feeds, in one database.

    Args:
        engine: From `open_database`; closed by `close`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # One writer at a time: SQLite would make the others wait in its own, coarser way.
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Make the tables that are missing."""
        async with self._engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)

    async def close(self) -> None:
        """Let the database go."""
        await self._engine.dispose()

    async def add_job(self, row: JobRow, first: Entry) -> None:
        """Write a new job with its first event. Raises JournalGap if it is there already."""
        values = {
            "job_id": row.job_id,
            "request_id": row.request_id,
            "created_ms": row.created_ms,
            "ended": row.ended,
            "record": row.record,
        }
        async with self.writing() as connection:
            await connection.execute(insert(JOBS).values(**values))
            await _add(connection, EVENTS, row.job_id, [first])

    async def append(
        self, job_id: str, event: Entry, feed: Sequence[Entry], *, ended: bool = False
    ) -> None:
        """Write one event with what it shows to watchers, all or nothing, through to the disk."""
        async with self.writing() as connection:
            await _add(connection, EVENTS, job_id, [event])
            await _add(connection, FEED, job_id, feed)
            if ended:
                await connection.execute(
                    update(JOBS).where(JOBS.c.job_id == job_id).values(ended=True)
                )

    async def add_feed(self, job_id: str, feed: Sequence[Entry]) -> None:
        """Write what is shown to watchers and decides nothing, such as progress."""
        async with self.writing() as connection:
            await _add(connection, FEED, job_id, feed)

    async def job(self, job_id: str) -> JobRow | None:
        """One job's row."""
        rows = await self._jobs(select(JOBS).where(JOBS.c.job_id == job_id))
        return rows[0] if rows else None

    async def job_of_request(self, request_id: str) -> JobRow | None:
        """The job that a submission with this id made."""
        rows = await self._jobs(select(JOBS).where(JOBS.c.request_id == request_id))
        return rows[0] if rows else None

    async def jobs(self, limit: int = 1_000, *, open_only: bool = False) -> list[JobRow]:
        """The newest jobs, newest first."""
        query = select(JOBS).order_by(JOBS.c.created_ms.desc(), JOBS.c.job_id).limit(limit)
        return await self._jobs(query.where(~JOBS.c.ended) if open_only else query)

    async def ended_jobs_named(self, name: str) -> list[JobRow]:
        """Jobs that are over and have this name somewhere in their record; the reader looks where.

        Args:
            name: of letters, digits, dots, dashes and underscores.
        """
        within = JOBS.c.record.contains(f'"name":"{name}"', autoescape=True)
        return await self._jobs(select(JOBS).where(JOBS.c.ended, within))

    async def events(self, job_id: str) -> list[Entry]:
        """All events of a job, in order. Raises JournalGap when one is missing."""
        found = await self._entries(EVENTS, job_id, -1, None)
        if [entry.sequence for entry in found] != list(range(len(found))):
            raise JournalGap(
                f"the journal of job {job_id} has a gap",
                "restore a backup; what is locked on chain is refunded after its deadline",
            )
        return found

    async def feed(self, job_id: str, after: int, limit: int = 500) -> list[Entry]:
        """What watchers are shown beyond a sequence number."""
        return await self._entries(FEED, job_id, after, limit)

    async def last_feed(self, job_id: str) -> int:
        """The feed's highest sequence number; 0 when it is empty."""
        query = select(func.max(FEED.c.sequence)).where(FEED.c.job_id == job_id)
        async with self._engine.connect() as connection:
            return int((await connection.execute(query)).scalar() or 0)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One write transaction, alone; database errors come out as ours."""
        async with self._lock:
            try:
                async with self._engine.begin() as connection:
                    yield connection
            except DBAPIError as error:
                raise _typed(error) from error

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with; database errors come out as ours."""
        try:
            async with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise _typed(error) from error

    async def _jobs(self, query: Any) -> list[JobRow]:
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            JobRow(row.job_id, row.request_id, row.created_ms, row.ended, row.record)
            for row in rows
        ]

    async def _entries(self, table: Any, job_id: str, after: int, limit: int | None) -> list[Entry]:
        query = (
            select(table)
            .where(table.c.job_id == job_id, table.c.sequence > after)
            .order_by(table.c.sequence)
        )
        if limit is not None:
            query = query.limit(limit)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [Entry(row.sequence, row.at_ms, row.type, row.body) for row in rows]


async def _add(
    connection: AsyncConnection, table: Any, job_id: str, entries: Sequence[Entry]
) -> None:
    if entries:
        rows = [
            {
                "job_id": job_id,
                "sequence": entry.sequence,
                "at_ms": entry.at_ms,
                "type": entry.type,
                "body": entry.body,
            }
            for entry in entries
        ]
        await connection.execute(insert(table), rows)


def _typed(error: DBAPIError) -> StorageError:
    told = str(error.orig).splitlines()[0]
    if isinstance(error, IntegrityError):
        return JournalGap(
            f"the journal refused an entry: {told}",
            "stop the other process that uses this state, then start again",
        )
    return JournalWriteFailed(
        f"the journal cannot be written: {told}", "free some space on its disk, then start again"
    )
