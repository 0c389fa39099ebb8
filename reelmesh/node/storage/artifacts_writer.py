"""Writing one artifact: hashed as it streams, bounded, visible only when whole."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from reelmesh.errors import PeerError, StorageError

# Up to this a hop to another thread and back costs more than the hash and the write themselves,
# which go to memory: the slow part, the sync, always has a thread of its own.
_INLINE_BYTES = 1 << 20
# The disk begins with what is there while more arrives, so that the last sync is short.
_SYNC_EVERY_BYTES = 4 << 20

Keep = Callable[[Path, str], Awaitable[None]]


class WrongHash(PeerError):
    """What arrived does not have the hash that was promised. Nothing was kept."""


class TooManyBytes(PeerError):
    """More arrived than was announced or allowed. Nothing was kept."""


class StorageFull(StorageError):
    """The disk is full. Free some space; nothing that was kept is lost."""


class ArtifactWriter:
    """Takes bytes in order; `commit` (or leaving `async with` cleanly) keeps them.

    Attributes:
        size: Bytes written so far.
        artifact_id: The name, once committed; "" before.
    """

    def __init__(self, staging: Path, expected: str | None, max_bytes: int, keep: Keep) -> None:
        self._staging = staging
        self._expected = expected
        self._max_bytes = max_bytes
        self._keep = keep
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._unsynced = 0
        self._syncing: asyncio.Future[None] | None = None
        self.size = 0
        self.artifact_id = ""

    async def write(self, data: bytes) -> None:
        """Append; raises TooManyBytes past the bound, StorageFull when the disk is."""
        if self.artifact_id:
            raise ValueError("this artifact is committed")
        if self.size + len(data) > self._max_bytes:
            raise TooManyBytes(f"an artifact grew past its {self._max_bytes} bytes")
        if len(data) <= _INLINE_BYTES:
            self._append(data)
        else:
            await asyncio.to_thread(self._append, data)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_EVERY_BYTES and (self._syncing is None or self._syncing.done()):
            await self._synced()
            self._unsynced = 0
            descriptor = os.dup(self._open().fileno())
            self._syncing = asyncio.ensure_future(asyncio.to_thread(_sync, descriptor))

    async def commit(self) -> str:
        """Check the hash and make the object visible; returns its name. Raises WrongHash."""
        found = self._hash.hexdigest()
        if self._expected is not None and found != self._expected:
            self.discard()
            raise WrongHash(f"expected an artifact {self._expected[:12]}…, got {found[:12]}…")
        await self._synced()
        await asyncio.to_thread(self._finish)
        await self._keep(self._staging, found)
        self.artifact_id = found
        return found

    def discard(self) -> None:
        """Drop what was written; does nothing after a commit."""
        if self._syncing is not None:
            self._syncing.add_done_callback(_forget)
            self._syncing = None
        if self._file is not None:
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

    async def _synced(self) -> None:
        """Wait for the sync under way. Its failure is reported here once, and nowhere else."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            try:
                await syncing
            except OSError as error:
                raise _storage_error(error) from error

    def _append(self, data: bytes) -> None:
        self._hash.update(data)
        try:
            self._open().write(data)
        except OSError as error:
            raise _storage_error(error) from error
        self.size += len(data)

    def _finish(self) -> None:
        file = self._open()
        try:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        except OSError as error:
            raise _storage_error(error) from error
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


def _storage_error(error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("the disk is full", "free some space, then start the node again")
    return StorageError(f"cannot write to the artifact folder: {error.strerror}")
