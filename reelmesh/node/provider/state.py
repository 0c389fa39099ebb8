"""What a provider must not forget: awards, what they owe, what was done. SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from reelmesh.errors import StorageError
from reelmesh.node.provider.award import SentBid
from reelmesh.node.provider.ledger import JobLedger
from reelmesh.node.storage.db import open_database
from reelmesh.proto import market_pb2

_METADATA = MetaData()
_JOBS = Table(
    "provider_jobs",
    _METADATA,
    Column("job_id", String(66), primary_key=True),
    Column("standing", String(20), nullable=False, index=True),
    Column("reason", String(80), nullable=False),
    Column("award", LargeBinary, nullable=False),
    Column("bid", Text, nullable=False),
    Column("ledger", Text, nullable=False),
    Column("paid", String(39), nullable=False),
    Column("awarded_ms", BigInteger, nullable=False),
)
_TASKS = Table(
    "provider_tasks",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(66), nullable=False),
    Column("subtask", String(64), nullable=False),
    Column("stage", String(64), nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("price", String(39), nullable=False),
    Column("run_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=False, index=True),
)


class StateNotWritten(StorageError):
    """The database took nothing; without it no more work may be done, for its pay could be lost."""


class Standing(StrEnum):
    """How a job stands here."""

    WORKING = "working"
    """Leases are asked for."""
    STOPPED = "stopped"
    """No more work, for the reason kept; its pay is still awaited, or claimed."""
    ENDED = "ended"
    """Paid, or nothing more can be had."""


@dataclass(frozen=True)
class JobRecord:
    """One awarded job as it is kept. `reason` says why it stopped or ended; `paid` is in wei."""

    job_id: str
    award: market_pb2.Award
    bid: SentBid
    ledger: JobLedger
    awarded_ms: int
    standing: Standing = Standing.WORKING
    reason: str = ""
    paid: int = 0

    def stopped(self, reason: str) -> JobRecord:
        """No more work is asked for."""
        return replace(self, standing=Standing.STOPPED, reason=reason)

    def ended(self, reason: str, paid: int) -> JobRecord:
        """Nothing more is awaited."""
        return replace(self, standing=Standing.ENDED, reason=reason, paid=paid)


@dataclass(frozen=True)
class TaskRecord:
    """One lease and what became of it; `outcome` is "done" or a reason code, price in wei."""

    job_id: str
    subtask: str
    stage: str
    outcome: str
    price: int
    run_ms: int
    ended_ms: int


@dataclass(frozen=True)
class Totals:
    """For `provider status`: counts of finished subtasks, money in wei."""

    done: int
    done_last_hour: int
    failed: int
    jobs: int
    paid: int
    promised: int


class ProviderState:
    """The provider's database. Every method commits before it returns.

    Those that write raise StateNotWritten.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> ProviderState:
        """Open or create; raises CorruptState or StateUnavailable."""
        engine = await open_database(url)
        async with engine.begin() as connection:
            await connection.run_sync(_METADATA.create_all)
        return cls(engine)

    async def close(self) -> None:
        """Let go of the database."""
        await self._engine.dispose()

    async def save_job(self, job: JobRecord) -> None:
        """Write a job as it is now, in place of what was known of it."""
        row = {
            "job_id": job.job_id,
            "standing": job.standing.value,
            "reason": job.reason[:80],
            "award": job.award.SerializeToString(),
            "bid": job.bid.model_dump_json(),
            "ledger": job.ledger.model_dump_json(),
            "paid": str(job.paid),
            "awarded_ms": job.awarded_ms,
        }
        async with self._writing() as connection:
            await connection.execute(delete(_JOBS).where(_JOBS.c.job_id == job.job_id))
            await connection.execute(insert(_JOBS).values(row))

    async def job(self, job_id: str) -> JobRecord | None:
        """A job by its id."""
        async with self._engine.connect() as connection:
            found = await connection.execute(select(_JOBS).where(_JOBS.c.job_id == job_id))
            row = found.mappings().one_or_none()
        return None if row is None else _record(row)

    async def unfinished(self) -> Sequence[JobRecord]:
        """Jobs that work or pay is still awaited from, oldest first."""
        query = select(_JOBS).where(_JOBS.c.standing != Standing.ENDED.value)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query.order_by(_JOBS.c.awarded_ms))).mappings().all()
        return [_record(row) for row in rows]

    async def add_task(self, task: TaskRecord) -> None:
        """Note what became of a lease."""
        row = {**vars(task), "price": str(task.price)}
        async with self._writing() as connection:
            await connection.execute(insert(_TASKS).values(row))

    async def totals(self, now_ms: int) -> Totals:
        """Sums over everything ever done here."""
        done = _TASKS.c.outcome == "done"
        count = select(func.count()).select_from(_TASKS)
        async with self._engine.connect() as connection:
            in_all = await connection.scalar(count.where(done))
            hour = await connection.scalar(
                count.where(done, _TASKS.c.ended_ms > now_ms - 3_600_000)
            )
            failed = await connection.scalar(count.where(~done))
            rows = (await connection.execute(select(_JOBS.c.paid, _JOBS.c.ledger))).all()
            standing = (await connection.execute(select(_JOBS.c.standing))).scalars().all()
        open_ledgers = [
            JobLedger.model_validate_json(row.ledger)
            for row, one in zip(rows, standing, strict=True)
            if one != Standing.ENDED.value
        ]
        return Totals(
            done=in_all or 0,
            done_last_hour=hour or 0,
            failed=failed or 0,
            jobs=len(rows),
            # Amounts of wei are wider than SQL's integers, hence text and a sum here.
            paid=sum(int(row.paid) for row in rows),
            promised=sum(ledger.promised for ledger in open_ledgers),
        )

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise StateNotWritten(
                f"the provider's state cannot be written: {str(error.orig).splitlines()[0]}",
                "free some space on its disk, then start again: what was promised so far is kept",
            ) from error


def _record(row: object) -> JobRecord:
    columns = dict(row)  # type: ignore[call-overload]
    return JobRecord(
        job_id=columns["job_id"],
        award=market_pb2.Award.FromString(columns["award"]),
        bid=SentBid.model_validate_json(columns["bid"]),
        ledger=JobLedger.model_validate_json(columns["ledger"]),
        awarded_ms=columns["awarded_ms"],
        standing=Standing(columns["standing"]),
        reason=columns["reason"],
        paid=int(columns["paid"]),
    )
