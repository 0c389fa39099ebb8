"""Content-addressed artifacts: immutable bytes named by the sha256 of what they hold.

Objects lie in a local folder by default, or in a bucket given by URL (`s3://`, `gs://`, `az://`),
through obstore. Every object a stage touches is also a verified local file, because stages read
paths; with a bucket behind it the folder is a cache of that bucket.

Folder layout::

    objects/ab/abcdef…      whole and verified when it was written
    incoming/<pid>-<nonce>  being written; swept when its process is gone
    quarantine/             objects whose bytes no longer match their name, kept for inspection
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import LocalStore, ObjectStore, from_url

from reelmesh.errors import StorageError
from reelmesh.node.storage.artifacts_file import (
    hash_file,
    move_into_place,
    oldest_beyond,
    sweep_incoming,
)
from reelmesh.node.storage.artifacts_writer import ArtifactWriter, WrongHash

CHUNK = 1 << 20
MAX_ARTIFACT_BYTES = 16 << 30
_QUARANTINE_KEPT = 16
_ID = re.compile(r"[0-9a-f]{64}")


class BadArtifactId(StorageError):
    """An artifact's name is not 64 lower-case hex digits."""


class MissingArtifact(StorageError):
    """The store holds no object of that name. Fetch it from whoever made it."""


class CorruptArtifact(StorageError):
    """An object's bytes do not match its name. It was set aside; fetch it again."""


class StoreUnreachable(StorageError):
    """The bucket behind the store did not answer, or refused."""


class ArtifactStore:
    """A store of artifacts in one folder, with a bucket behind it or not.

    Args:
        url_or_path: A folder, a `file://` URL, or a bucket URL that obstore understands.
        cache: With a bucket, the folder for local copies; required then, ignored otherwise.
        max_bytes: The largest object taken.
    """

    def __init__(
        self,
        url_or_path: str | Path,
        *,
        cache: Path | None = None,
        max_bytes: int = MAX_ARTIFACT_BYTES,
    ) -> None:
        url = str(url_or_path)
        self._remote: ObjectStore | None = None
        if url.startswith("file://"):
            root = Path(url.removeprefix("file://"))
        elif "://" in url:
            if cache is None:
                raise StorageError(f"{url} needs a local folder for copies", "set the cache folder")
            self._remote = from_url(url)
            root = cache
        else:
            root = Path(url_or_path)
        self.root = root.absolute()
        self.max_bytes = max_bytes
        for folder in ("objects", "incoming", "quarantine"):
            (self.root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep_incoming(self.root / "incoming")
        self._local = LocalStore(prefix=self.root / "objects")
        # name -> (size, mtime) of the file when its hash was last seen to be right
        self._verified: dict[str, tuple[int, int]] = {}

    # -- writing -----------------------------------------------------------------------------

    def writer(self, expected: str | None = None, max_bytes: int | None = None) -> ArtifactWriter:
        """A writer that hashes as it streams; its commit is atomic.

        Args:
            expected: The name the bytes must turn out to have, or None to learn it.
            max_bytes: More than this is refused while it streams.
        """
        if expected is not None:
            _check_id(expected)
        limit = self.max_bytes if max_bytes is None else min(max_bytes, self.max_bytes)
        staging = self.root / "incoming" / f"{os.getpid()}-{secrets.token_hex(8)}"
        return ArtifactWriter(staging, expected, limit, self._keep)

    async def put_bytes(self, data: bytes) -> str:
        """Keep these bytes; returns their name."""
        async with self.writer() as writer:
            for start in range(0, len(data), CHUNK):
                await writer.write(data[start : start + CHUNK])
        return writer.artifact_id

    async def put_file(self, path: Path) -> str:
        """Keep a copy of this file; returns its name."""
        async with self.writer() as writer:
            with path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, CHUNK):
                    await writer.write(data)
        return writer.artifact_id

    async def _keep(self, staging: Path, artifact_id: str) -> None:
        await self._keep_local(staging, artifact_id)
        if self._remote is not None:
            try:
                await obstore.put_async(self._remote, _key(artifact_id), self._file(artifact_id))
            except (ObstoreError, OSError) as error:
                raise StoreUnreachable(f"cannot upload artifact {artifact_id[:12]}") from error

    # -- reading -----------------------------------------------------------------------------

    async def has(self, artifact_id: str) -> bool:
        """Whether an object of that name is there (its bytes are not read)."""
        try:
            await self.size(artifact_id)
        except MissingArtifact:
            return False
        return True

    async def size(self, artifact_id: str) -> int:
        """The object's size in bytes; raises MissingArtifact."""
        key = _key(_check_id(artifact_id))
        for store in (self._local, self._remote):
            if store is None:
                continue
            try:
                return int((await obstore.head_async(store, key))["size"])
            except FileNotFoundError:
                continue
            except ObstoreError as error:
                raise StoreUnreachable(f"cannot look up artifact {artifact_id[:12]}") from error
        raise MissingArtifact(f"artifact {artifact_id[:12]}… is not here")

    async def path(self, artifact_id: str) -> Path:
        """The object as a local file whose hash was checked since it last changed.

        Raises:
            MissingArtifact: It is nowhere.
            CorruptArtifact: Its bytes are wrong; it was set aside, so that the next call of `has`
                is False and a fresh copy can take its place.
        """
        _check_id(artifact_id)
        file = self._file(artifact_id)
        if not file.exists():
            if self._remote is None:
                raise MissingArtifact(f"artifact {artifact_id[:12]}… is not here")
            await self._download(artifact_id)
        if self._verified.get(artifact_id) != _stamp(file):
            await self.verify(artifact_id)
        return file

    async def read(
        self, artifact_id: str, offset: int = 0, chunk: int = CHUNK
    ) -> AsyncIterator[bytes]:
        """The object's bytes from `offset` on, in pieces of at most `chunk` bytes."""
        with (await self.path(artifact_id)).open("rb") as file:
            file.seek(offset)
            while data := await asyncio.to_thread(file.read, chunk):
                yield data

    async def verify(self, artifact_id: str) -> None:
        """Hash the local copy again, whatever is remembered of it; raises as `path` does."""
        file = self._file(_check_id(artifact_id))
        try:
            found = await asyncio.to_thread(hash_file, file)
        except FileNotFoundError:
            raise MissingArtifact(f"artifact {artifact_id[:12]}… is not here") from None
        if found != artifact_id:
            self._quarantine(artifact_id)
            raise CorruptArtifact(
                f"artifact {artifact_id[:12]}… was damaged on disk and set aside",
                "it is fetched again when it is needed",
            )
        self._mark_verified(artifact_id)

    async def delete(self, artifact_id: str) -> None:
        """Forget the object, here and in the bucket; nothing happens when it is not there."""
        key = _key(_check_id(artifact_id))
        self._verified.pop(artifact_id, None)
        for store in (self._local, self._remote):
            if store is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(store, key)

    async def trim(self, keep_bytes: int, keep_ms: int) -> None:
        """Remove the oldest local objects beyond `keep_bytes`, none younger than `keep_ms`.

        A bucket keeps everything. What is removed can be fetched again by its name.
        """
        now_ns = time.time_ns()
        for name in await asyncio.to_thread(
            oldest_beyond, self.root / "objects", keep_bytes, now_ns - keep_ms * 1_000_000
        ):
            self._verified.pop(name, None)
            self._file(name).unlink(missing_ok=True)

    # -- within ------------------------------------------------------------------------------

    async def _download(self, artifact_id: str) -> None:
        assert self._remote is not None
        try:
            answer = await obstore.get_async(self._remote, _key(artifact_id))
            staging = self.root / "incoming" / f"{os.getpid()}-{secrets.token_hex(8)}"
            writer = ArtifactWriter(staging, artifact_id, self.max_bytes, self._keep_local)
            async with writer:
                async for data in answer.stream(CHUNK):
                    await writer.write(bytes(data))
        except FileNotFoundError:
            raise MissingArtifact(f"artifact {artifact_id[:12]}… is not in the bucket") from None
        except WrongHash as error:
            raise CorruptArtifact(
                f"artifact {artifact_id[:12]}… is damaged in the bucket", "upload it again"
            ) from error
        except ObstoreError as error:
            raise StoreUnreachable(f"cannot download artifact {artifact_id[:12]}") from error

    async def _keep_local(self, staging: Path, artifact_id: str) -> None:
        await asyncio.to_thread(move_into_place, staging, self._file(artifact_id))
        self._mark_verified(artifact_id)

    def _quarantine(self, artifact_id: str) -> None:
        self._verified.pop(artifact_id, None)
        folder = self.root / "quarantine"
        self._file(artifact_id).replace(folder / f"{artifact_id}.{time.time_ns()}")
        kept = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for old in kept[_QUARANTINE_KEPT:]:
            old.unlink(missing_ok=True)

    def _mark_verified(self, artifact_id: str) -> None:
        self._verified[artifact_id] = _stamp(self._file(artifact_id))

    def _file(self, artifact_id: str) -> Path:
        return self.root / "objects" / _key(artifact_id)


def _check_id(artifact_id: str) -> str:
    if not _ID.fullmatch(artifact_id):
        raise BadArtifactId("an artifact's name must be 64 lower-case hex digits")
    return artifact_id


def _key(artifact_id: str) -> str:
    return f"{artifact_id[:2]}/{artifact_id}"


def _stamp(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
