"""A provider's own folder: held by one process, and the names of things in its log."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from reelmesh.errors import StorageError


class HomeInUse(StorageError):
    """Another provider runs in this home folder."""


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HomeInUse(
                f"another provider runs in {home}", "stop it first, or use another home"
            ) from error
        yield


def short(job_id: str | bytes) -> str:
    """A job's id for a log line: 0x and its first eight digits."""
    text = "0x" + job_id.hex() if isinstance(job_id, bytes) else job_id
    return text[:10]
