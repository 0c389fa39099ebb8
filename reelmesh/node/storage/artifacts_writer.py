"""Writing one artifact: hashed as it streams, bounded, visible only when whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from reelmesh.errors import PeerError, StorageError

# The disk begins with what is there while more arrives, so that the last sync is short.
_SYNC_EVERY_BYTES = 16 << 20
_INLINE_BYTES = 128 << 10
_PIECES_BEHIND = 4

Keep = Callable[[Path, str], Awaitable[None]]


class WrongHash(PeerError):
    """What arrived does not have the hash that was promised. Nothing was kept."""


class TooManyBytes(PeerError):
    """More arrived than was announced or allowed. Nothing was kept."""


class StorageFull(StorageError):
    """The disk is full. Free some space; nothing that was kept is lost."""


class ArtifactWriter:
    """Takes bytes in order; `commit` (or leaving `async with` cleanly) keeps them.

    Large pieces are hashed and written by a thread while more arrive, a few megabytes behind at
    most, and synced to disk by another now and then. Small ones take less time than the way to a
    thread and back. What goes wrong beside is raised by a later `write` or by `commit`, so nothing
    is kept that was not written.

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
        self._waiting: deque[bytes | memoryview] = deque()
        self._writing: asyncio.Future[None] | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._failure: OSError | None = None
        self._unsynced = 0
        self.size = 0
        self.artifact_id = ""

    async def write(self, data: bytes | memoryview) -> None:
        """Append; raises TooManyBytes past the bound, StorageFull when the disk is."""
        if self.artifact_id:
            raise ValueError("this artifact is committed")
        if self.size + len(data) > self._max_bytes:
            raise TooManyBytes(f"an artifact grew past its {self._max_bytes} bytes")
        with _as_storage_error():
            self._check_whole()
            file = self._open()
            await self._sync_now_and_then(file)
            if len(data) < _INLINE_BYTES and self._writing is None and not self._waiting:
                self._put(file, data)
            else:
                await self._hand_over(file, data)
        self.size += len(data)
        self._unsynced += len(data)

    async def commit(self) -> str:
        """Check the hash and make the object visible; returns its name. Raises WrongHash."""
        with _as_storage_error():
            self._check_whole()
            await self._written()
            found = self._hash.hexdigest()
            if self._expected is not None and found != self._expected:
                self.discard()
                raise WrongHash(f"expected an artifact {self._expected[:12]}…, got {found[:12]}…")
            await self._synced()
            await asyncio.to_thread(self._finish, self._open())
        await self._keep(self._staging, found)
        self.artifact_id = found
        return found

    def discard(self) -> None:
        """Drop what was written; does nothing after a commit."""
        self._waiting.clear()
        for beside in (self._writing, self._syncing):
            if beside is not None:
                beside.add_done_callback(_forget)
        self._writing = self._syncing = None
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

    def _put(self, file: BinaryIO, data: bytes | memoryview) -> None:
        self._hash.update(data)
        try:
            file.write(data)
        except OSError as error:  # there is a hole now: nothing that comes later may close it
            self._failure = error
            raise

    def _check_whole(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _hand_over(self, file: BinaryIO, data: bytes | memoryview) -> None:
        """Leave a piece to the writing thread; wait where it is too far behind."""
        self._waiting.append(data)
        if self._writing is not None and self._writing.done():
            await self._ended()
        if self._writing is None:
            self._begin(file)
        if len(self._waiting) > _PIECES_BEHIND:
            await self._ended()

    def _begin(self, file: BinaryIO) -> None:
        self._writing = asyncio.ensure_future(asyncio.to_thread(self._drain, file))

    def _drain(self, file: BinaryIO) -> None:
        while self._waiting:  # only this thread takes from it
            self._put(file, self._waiting.popleft())

    async def _ended(self) -> None:
        """Wait for the writing thread, if there is one; raises what went wrong in it."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    async def _written(self) -> None:
        """Wait until every piece taken so far is hashed and written."""
        await self._ended()
        if self._waiting:  # they came while the thread was ending
            self._begin(self._open())
            await self._ended()

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
