"""What a provider keeps survives its end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from test_provider_award import BID, make_award

from reelmesh.node.provider.ledger import JobLedger
from reelmesh.node.provider.state import (
    JobRecord,
    ProviderState,
    Standing,
    StateNotWritten,
    TaskRecord,
)
from reelmesh.node.storage.db import sqlite_url

NOW = 1_800_000_000_000
JOB = "0x" + "6a" * 32
AWARD = make_award()


def record(job_id: str = JOB, promised: int = 5) -> JobRecord:
    ledger = JobLedger(cap=10**25).promise(promised, b"\x01" * 65)
    return JobRecord(job_id, AWARD, BID, ledger, NOW)


def task(outcome: str, ended_ms: int = NOW) -> TaskRecord:
    return TaskRecord(JOB, "upscale-0", "upscale", outcome, 10**20, 1500, ended_ms)


async def test_a_job_comes_back_after_a_restart(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "p.db")
    state = await ProviderState.open(url)
    await state.save_job(record())
    await state.save_job(record(promised=10**24))
    await state.close()
    again = await ProviderState.open(url)
    assert await again.unfinished() == [record(promised=10**24)]
    assert await again.job(JOB) == record(promised=10**24)
    assert await again.job("0x00") is None
    await again.close()


async def test_an_ended_job_is_counted_but_not_taken_up_again(tmp_path: Path) -> None:
    state = await ProviderState.open(sqlite_url(tmp_path / "p.db"))
    await state.save_job(record().ended("paid", 10**24))
    await state.save_job(record("0x" + "00" * 32).stopped("unpaid"))
    (left,) = await state.unfinished()
    assert (left.standing, left.reason) == (Standing.STOPPED, "unpaid")
    totals = await state.totals(NOW)
    assert (totals.jobs, totals.paid, totals.promised) == (2, 10**24, 5)
    await state.close()


async def test_tasks_are_counted_by_hour_and_outcome(tmp_path: Path) -> None:
    state = await ProviderState.open(sqlite_url(tmp_path / "p.db"))
    await state.add_task(task("done"))
    await state.add_task(task("done", NOW - 3_600_001))
    await state.add_task(task("crashed"))
    totals = await state.totals(NOW)
    assert (totals.done, totals.done_last_hour, totals.failed) == (2, 1, 1)
    await state.close()


async def test_a_database_that_takes_nothing_is_told_with_the_next_step(tmp_path: Path) -> None:
    state = await ProviderState.open(sqlite_url(tmp_path / "p.db"))
    with sqlite3.connect(tmp_path / "p.db") as other:
        other.execute("drop table provider_jobs")
    with pytest.raises(StateNotWritten) as caught:
        await state.save_job(record())
    assert caught.value.hint
    await state.close()
