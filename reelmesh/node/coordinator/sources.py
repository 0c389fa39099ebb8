"""Taking in the media that a buyer brings: bounded, hashed, and never decoded here."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import BinaryIO

from reelmesh.errors import StorageError
from reelmesh.node.coordinator.submitting import BadRequest, Request
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.artifacts_writer import TooManyBytes, WrongHash
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.sources import Source

_CHUNK = 1 << 20
_HINT = "leave the file alone until the job is posted, and submit again"


async def keep_sources(store: ArtifactStore, request: Request, plan: Plan) -> None:
    """Copy each source into the store under its hash. Raises BadRequest, StorageError.

    A file that was not given is no obstacle where an earlier job's copy is there, or where nothing
    that is left of the plan needs it.
    """
    needed = {source.sha256 for subtask in plan.subtasks for source in subtask.sources}
    for name, source in request.spec.sources().items():
        path = request.source_files.get(name)
        if path is not None:
            await _keep(store, source, path)
        elif source.sha256 in needed and not await _is_there(store, source):
            raise BadRequest(
                f"a job of kind {request.spec.kind} takes these files with it: {name}",
                f"give the {name} that it is to be made from",
            )


async def _is_there(store: ArtifactStore, source: Source) -> bool:
    try:
        await store.path(source.sha256)
    except StorageError:
        return False
    return True


async def _keep(store: ArtifactStore, source: Source, path: Path) -> None:
    try:
        file = await asyncio.to_thread(_open, path)
    except OSError as error:
        raise BadRequest(
            f"cannot read {path}: {error.strerror}", "check path and rights"
        ) from error
    with file:
        try:
            async with store.writer(source.sha256, source.size) as writer:
                while data := await asyncio.to_thread(file.read, _CHUNK):
                    await writer.write(data)
        except (WrongHash, TooManyBytes) as error:
            raise BadRequest(f"{path} is not what it was when its hash was taken", _HINT) from error
        except OSError as error:
            raise BadRequest(f"cannot read {path}: {error.strerror}", _HINT) from error


def _open(path: Path) -> BinaryIO:
    """A regular file; a pipe would never end, and opening one would wait for its other end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise BadRequest(f"{path} is not a file", "give the path of a picture or video file")
    return file
