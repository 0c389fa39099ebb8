"""Opening a node's state database.

SQLite by default, PostgreSQL by URL. What a node writes here decides about money, so every commit
is on the disk before the call returns (`synchronous=FULL`), the file is checked before it is used,
and a damaged one is set aside under another name instead of being repaired or overwritten.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from reelmesh.errors import StorageError

_SIDE_FILES = ("-wal", "-shm", "-journal")
_BUSY_TIMEOUT_MS = 5_000


class CorruptState(StorageError):
    """A state file is damaged; it was set aside, and `kept_at` tells where."""

    def __init__(self, message: str, hint: str, kept_at: Path) -> None:
        super().__init__(message, hint)
        self.kept_at = kept_at


class StateUnavailable(StorageError):
    """The database cannot be opened: wrong address, no permission, no space, or in use."""


async def open_database(url: str, *, integrity_check: bool = True) -> AsyncEngine:
    """Opens (and for SQLite creates) a state database.

    Args:
        url: `sqlite:///<path>` (absolute: four slashes), `sqlite:///:memory:`,
            `postgresql://…`, or any asynchronous SQLAlchemy URL.
        integrity_check: Read the whole SQLite file once before using it.

    Raises:
        CorruptState: The file is damaged. It is renamed to `<name>.corrupt-<time>`, its side files
            with it, so that the next start begins with an empty one.
        StateUnavailable: The database cannot be opened at all.
    """
    parsed = _parse(url)
    path = _sqlite_path(parsed)
    if path is not None:
        await asyncio.to_thread(_prepare_file, path, integrity_check)
    engine = _engine(parsed, path)
    try:
        async with engine.connect():
            pass
    except (OperationalError, OSError) as error:
        await engine.dispose()
        raise StateUnavailable(
            f"cannot open the state database {parsed.render_as_string(hide_password=True)}: "
            f"{_first_line(error)}",
            "check that it is running, and the address and rights in the configuration",
        ) from error
    return engine


def sqlite_url(path: Path) -> str:
    """The URL under which `open_database` opens the SQLite file `path`."""
    return f"sqlite+aiosqlite:///{path.absolute()}"


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StateUnavailable(
            "the database address is not a URL", "for example sqlite:////home/me/state.db"
        ) from error
    if parsed.drivername == "sqlite":
        return parsed.set(drivername="sqlite+aiosqlite")
    if parsed.drivername in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+asyncpg")
    return parsed


def _sqlite_path(url: URL) -> Path | None:
    if not url.drivername.startswith("sqlite") or url.database in {None, "", ":memory:"}:
        return None
    return Path(str(url.database))


def _engine(url: URL, path: Path | None) -> AsyncEngine:
    try:
        if path is None:
            return create_async_engine(url)
        engine = create_async_engine(url, pool_size=4, max_overflow=4)
    except ImportError as error:
        raise StateUnavailable(
            f"the driver for {url.drivername} is not installed: {error}",
            "pip install asyncpg for PostgreSQL",
        ) from error

    @event.listens_for(engine.sync_engine, "connect")
    def _set_pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # In WAL mode NORMAL may lose the last commits at a power cut; effects of an event run
        # only because its row is safe, so FULL.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.close()

    return engine


def _prepare_file(path: Path, integrity_check: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
            return
    except OSError as error:
        raise StateUnavailable(
            f"cannot use the state file {path}: {error.strerror}",
            "check that its folder exists, is yours and has space left",
        ) from error
    if integrity_check:
        _check_integrity(path)


def _check_integrity(path: Path) -> None:
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_MS / 1000)
        try:
            rows = connection.execute("PRAGMA integrity_check(3)").fetchall()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        # Locked or unreadable says nothing about the content: leave the file where it is.
        raise StateUnavailable(
            f"cannot read the state file {path}: {error}",
            "stop the other process that uses it, or check its rights",
        ) from error
    except sqlite3.DatabaseError as error:
        raise _set_aside(path, str(error)) from error
    if rows != [("ok",)]:
        raise _set_aside(path, str(rows[0][0]).splitlines()[0])


def _set_aside(path: Path, reason: str) -> CorruptState:
    kept = _free_name(path)
    path.rename(kept)
    for suffix in _SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(kept.with_name(kept.name + suffix))
    return CorruptState(
        f"the state file {path} is damaged ({reason}); it was kept as {kept.name}",
        "restore a backup in its place, or start again with an empty one: "
        "what is still locked on chain is refunded after its deadline",
        kept,
    )


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    return kept


def _first_line(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error)
    return text.splitlines()[0] if text else type(error).__name__
