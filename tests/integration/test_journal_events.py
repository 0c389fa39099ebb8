"""The journal: whole transactions, no gaps, no event twice, all of it there after a reopening."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from reelmesh.node.storage.db import open_database, sqlite_url
from reelmesh.node.storage.journal import Entry, JobRow, Journal, JournalGap

JOB = "0x" + "11" * 32


def entry(sequence: int, kind: str = "E") -> Entry:
    return Entry(sequence, 1_000 + sequence, kind, "{}")


async def opened(path: Path) -> Journal:
    journal = Journal(await open_database(sqlite_url(path)))
    await journal.open()
    return journal


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = await opened(tmp_path / "j.db")
    await made.add_job(JobRow(JOB, "once", 5, ended=False, record="{}"), entry(0, "JobCreated"))
    yield made
    await made.close()


async def test_events_and_feed_survive_a_reopening(journal: Journal, tmp_path: Path) -> None:
    await journal.append(JOB, entry(1), [entry(1, "shown"), entry(2, "shown")])
    await journal.add_feed(JOB, [entry(3, "progress")])
    again = await opened(tmp_path / "j.db")
    assert [e.sequence for e in await again.events(JOB)] == [0, 1]
    assert [e.sequence for e in await again.feed(JOB, after=1)] == [2, 3]
    assert await again.last_feed(JOB) == 3
    await again.close()


async def test_an_event_is_not_written_twice_nor_half(journal: Journal) -> None:
    await journal.append(JOB, entry(1), [])
    with pytest.raises(JournalGap) as caught:
        await journal.append(JOB, entry(1), [entry(9, "shown")])
    assert caught.value.hint
    assert await journal.feed(JOB, after=0) == []  # nothing of the refused one is there
    await journal.append(JOB, entry(2), [])  # and the next goes on
    assert len(await journal.events(JOB)) == 3


async def test_a_missing_event_is_noticed(journal: Journal) -> None:
    await journal.append(JOB, entry(1), [])
    await journal.append(JOB, entry(2), [])
    async with journal._engine.begin() as connection:
        await connection.execute(text("delete from events where sequence = 1"))
    with pytest.raises(JournalGap, match="gap"):
        await journal.events(JOB)


async def test_a_request_is_found_again_and_an_ended_job_is_not_open(journal: Journal) -> None:
    found = await journal.job_of_request("once")
    assert found is not None
    assert found.job_id == JOB
    assert await journal.job_of_request("twice") is None
    assert [row.job_id for row in await journal.jobs(open_only=True)] == [JOB]
    await journal.append(JOB, entry(1), [], ended=True)
    assert await journal.jobs(open_only=True) == []
    assert [row.job_id for row in await journal.jobs()] == [JOB]


async def test_a_job_is_not_added_twice(journal: Journal) -> None:
    with pytest.raises(JournalGap):
        await journal.add_job(JobRow(JOB, None, 6, ended=False, record="{}"), entry(0))
