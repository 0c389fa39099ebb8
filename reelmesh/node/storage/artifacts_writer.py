"""Writing one artifact: hashed as it streams, bounded, visible only when whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from reelmesh.errors import PeerError, StorageError

# The disk begins with what is there while more arrives, so that the last sync is short.
_SYNC_EVERY_BYTES = 16 << 20

Keep = Callable[[Path, str], Awaitable[None]]


class WrongHash(PeerError):
    """What arrived does not have the hash that was promised. Nothing was kept."""


class TooManyBytes(PeerError):
    """More arrived than was announced or allowed. Nothing was kept."""


class StorageFull(StorageError):
    """The disk is full. Free some space; nothing that was kept is lost."""


class ArtifactWriter:
    """Takes bytes in order; `commit` (or leaving `async with` cleanly) keeps them.

    Give it pieces of about a megabyte: each is hashed and written to the system's memory at once,
    in a millisecond, which is less than handing it to a thread and back costs. The slow part, the
    sync to disk, runs in a thread beside it; what goes wrong there is raised by a later `write` or
    by `commit`, so nothing is kept that was not written.

    Attributes:
        size: Bytes taken so far.
        artifact_id: The name, once committed; "" before.
    """

    def __init__(self, staging: Path, expected: str | None, max_bytes: int, keep: Keep) -> None:
        self._staging = staging
        self._expected = expected
        self._max_bytes = max_bytes
        self._keep = keep
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._unsynced = 0
        self.size = 0
        self.artifact_id = ""

    async def write(self, data: bytes) -> None:
        """Append; raises TooManyBytes past the bound, StorageFull when the disk is."""
        if self.artifact_id:
            raise ValueError("this artifact is committed")
        if self.size + len(data) > self._max_bytes:
            raise TooManyBytes(f"an artifact grew past its {self._max_bytes} bytes")
        with _as_storage_error():
            file = self._open()
            await self._sync_now_and_then(file)
            self._hash.update(data)
            file.write(data)
        self.size += len(data)
        self._unsynced += len(data)

    async def commit(self) -> str:
        """Check the hash and make the object visible; returns its name. Raises WrongHash."""
        found = self._hash.hexdigest()
        if self._expected is not None and found != self._expected:
            self.discard()
            raise WrongHash(f"expected an artifact {self._expected[:12]}…, got {found[:12]}…")
        with _as_storage_error():
            await self._synced()
            await asyncio.to_thread(self._finish, self._open())
        await self._keep(self._staging, found)
        self.artifact_id = found
        return found

    def discard(self) -> None:
        """Drop what was written; does nothing after a commit."""
        if self._syncing is not None:
            self._syncing.add_done_callback(_forget)
            self._syncing = None
        if self._file is not None:
            with contextlib.suppress(OSError):  # a buffer that does not fit the disk any more
                self._file.close()
            self._file = None
        self._staging.unlink(missing_ok=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and not self.artifact_id:
            try:
                await self.commit()
            except BaseException:
                self.discard()
                raise
        elif kind is not None:
            self.discard()

    async def _sync_now_and_then(self, file: BinaryIO) -> None:
        under_way = self._syncing is not None and not self._syncing.done()
        if self._unsynced >= _SYNC_EVERY_BYTES and not under_way:
            await self._synced()
            self._unsynced = 0
            syncing = asyncio.to_thread(_sync, os.dup(file.fileno()))
            self._syncing = asyncio.ensure_future(syncing)

    async def _synced(self) -> None:
        """Wait for the sync under way. The system reports its failure once: here."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            await asyncio.shield(syncing)

    def _finish(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self._file = None

    def _open(self) -> BinaryIO:
        if self._file is None:
            descriptor = os.open(self._staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(descriptor, "wb")
        return self._file


def _sync(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _forget(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()


@contextlib.contextmanager
def _as_storage_error() -> Iterator[None]:
    """Whatever the file system raises, as one of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space, then start the node again"
            raise StorageFull("the disk is full", hint) from error
        raise StorageError(f"cannot write to the artifact folder: {error.strerror}") from error
