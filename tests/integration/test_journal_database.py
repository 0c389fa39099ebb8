"""The state database: durable, checked at open, a damaged file kept and never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from reelmesh.node.storage.db import (
    CorruptState,
    StateUnavailable,
    open_database,
    sqlite_url,
)


async def _fill(path: Path, rows: int) -> None:
    engine = await open_database(sqlite_url(path))
    async with engine.begin() as connection:
        await connection.execute(text("create table t (a integer primary key, b blob)"))
        await connection.execute(
            text("insert into t (b) values (:b)"), [{"b": bytes(900)} for _ in range(rows)]
        )
    await engine.dispose()


async def test_it_commits_through_to_the_disk_in_wal_mode(tmp_path: Path) -> None:
    engine = await open_database(sqlite_url(tmp_path / "state.db"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("pragma journal_mode"))).scalar() == "wal"
        assert (await connection.execute(text("pragma synchronous"))).scalar() == 2
    await engine.dispose()


async def test_rows_survive_a_second_open(tmp_path: Path) -> None:
    await _fill(tmp_path / "state.db", 3)
    engine = await open_database(sqlite_url(tmp_path / "state.db"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("select count(*) from t"))).scalar() == 3
    await engine.dispose()


@pytest.mark.parametrize("damage", ["header", "page", "truncated"])
async def test_a_damaged_file_is_kept_aside_unchanged(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.db"
    await _fill(path, 200)
    raw = bytearray(path.read_bytes())
    if damage == "header":
        raw[:16] = b"not a database!!"
    elif damage == "page":
        raw[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    else:
        del raw[4096 * 5 + 100 :]
    path.write_bytes(raw)
    with pytest.raises(CorruptState) as caught:
        await open_database(sqlite_url(path))
    assert caught.value.kept_at.read_bytes() == bytes(raw)
    assert caught.value.hint
    assert not path.exists()
    engine = await open_database(sqlite_url(path))  # the next start begins empty
    await engine.dispose()
    assert caught.value.kept_at.read_bytes() == bytes(raw)


async def test_a_second_damaged_file_does_not_replace_the_first(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    kept = []
    for content in (b"first" * 1000, b"second" * 1000):
        path.write_bytes(content)
        with pytest.raises(CorruptState) as caught:
            await open_database(sqlite_url(path))
        kept.append(caught.value.kept_at)
    assert [item.read_bytes()[:5] for item in kept] == [b"first", b"secon"]


async def test_a_url_that_is_none_and_a_folder_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailable):
        await open_database("state.db")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateUnavailable):
        await open_database(sqlite_url(tmp_path / "file" / "state.db"))
