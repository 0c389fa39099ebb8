"""The file work under the artifact store: hashing, atomic placing, sweeping what was left."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_into_place(staging: Path, target: Path) -> None:
    """Make a finished file visible under its name, at once and for good.

    The rename is atomic, so a reader sees the whole object or none; the folder is synced after it,
    so that a power cut does not take the name back.
    """
    target.parent.mkdir(exist_ok=True, mode=0o700)
    staging.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sweep_incoming(folder: Path) -> None:
    """Remove unfinished files whose writing process is gone."""
    for file in folder.iterdir():
        pid = file.name.partition("-")[0]
        if not pid.isdigit() or not _alive(int(pid)):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def oldest_beyond(objects: Path, keep_bytes: int, before_ns: int) -> list[str]:
    """Names of the objects that do not fit into `keep_bytes`, newest kept, all from before then."""
    found = [(file.stat(), file.name) for file in objects.glob("??/*") if file.is_file()]
    found.sort(key=lambda pair: -pair[0].st_mtime_ns)
    names, total = [], 0
    for stat, name in found:
        total += stat.st_size
        if total > keep_bytes and stat.st_mtime_ns < before_ns:
            names.append(name)
    return names


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
