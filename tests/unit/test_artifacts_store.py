"""The artifact store: whole or not at all, and never the wrong bytes."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from reelmesh.errors import StorageError
from reelmesh.node.storage import artifacts_writer
from reelmesh.node.storage.artifacts import (
    ArtifactStore,
    BadArtifactId,
    CorruptArtifact,
    MissingArtifact,
)
from reelmesh.node.storage.artifacts_writer import StorageFull, TooManyBytes, WrongHash


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def leftovers(store: ArtifactStore) -> list[Path]:
    return list((store.root / "incoming").iterdir())


def file_of(store: ArtifactStore, name: str) -> Path:
    return store.root / "objects" / name[:2] / name


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (2 << 20) + 7])
async def test_bytes_come_back_under_their_hash(store: ArtifactStore, size: int) -> None:
    data = os.urandom(size)
    name = await store.put_bytes(data)
    assert name == hashlib.sha256(data).hexdigest()
    assert (await store.path(name)).read_bytes() == data
    assert await store.size(name) == size
    assert b"".join([piece async for piece in store.read(name)]) == data
    assert leftovers(store) == []


async def test_a_file_is_copied_and_read_from_an_offset(
    store: ArtifactStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    name = await store.put_file(source)
    pieces = [piece async for piece in store.read(name, offset=4, chunk=3)]
    assert pieces == [b"456", b"789"]
    assert source.exists()


async def test_a_url_names_a_folder_too(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/there")
    name = await store.put_bytes(b"x")
    assert await ArtifactStore(tmp_path / "there").has(name)


async def test_what_is_missing_is_said_to_be(store: ArtifactStore) -> None:
    name = "0" * 64
    assert not await store.has(name)
    with pytest.raises(MissingArtifact):
        await store.path(name)
    with pytest.raises(MissingArtifact):
        await store.verify(name)
    await store.delete(name)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
async def test_a_name_that_is_none_reaches_no_file(store: ArtifactStore, name: str) -> None:
    for call in (store.path, store.has, store.size, store.verify, store.delete):
        with pytest.raises(BadArtifactId):
            await call(name)
    with pytest.raises(BadArtifactId):
        store.writer(expected=name)


async def test_wrong_bytes_are_not_kept(store: ArtifactStore) -> None:
    promised = hashlib.sha256(b"right").hexdigest()
    with pytest.raises(WrongHash):
        async with store.writer(expected=promised) as writer:
            await writer.write(b"wrong")
    assert not await store.has(promised)
    assert leftovers(store) == []


async def test_too_many_bytes_are_stopped_while_they_stream(store: ArtifactStore) -> None:
    with pytest.raises(TooManyBytes):
        async with store.writer(max_bytes=10) as writer:
            await writer.write(b"x" * 10)
            await writer.write(b"x")
    assert leftovers(store) == []


async def test_an_interrupted_write_leaves_nothing(store: ArtifactStore) -> None:
    with pytest.raises(KeyError):
        async with store.writer() as writer:
            await writer.write(b"half of it")
            raise KeyError
    assert leftovers(store) == []


@pytest.mark.parametrize("damage", ["truncated", "flipped", "grown", "emptied"])
async def test_a_damaged_object_is_set_aside_and_can_be_put_again(
    store: ArtifactStore, damage: str
) -> None:
    data = os.urandom(5000)
    name = await store.put_bytes(data)
    file = file_of(store, name)
    wrong = {
        "truncated": data[:4000],
        "flipped": data[:100] + bytes([data[100] ^ 1]) + data[101:],
        "grown": data + b"x",
        "emptied": b"",
    }[damage]
    file.write_bytes(wrong)
    with pytest.raises(CorruptArtifact, match="set aside"):
        await store.path(name)
    assert not await store.has(name)
    kept = list((store.root / "quarantine").iterdir())
    assert [one.read_bytes() for one in kept] == [wrong]
    await store.put_bytes(data)
    assert (await store.path(name)).read_bytes() == data


async def test_a_new_store_checks_what_it_finds(tmp_path: Path) -> None:
    name = await ArtifactStore(tmp_path).put_bytes(b"some bytes")
    file = tmp_path / "objects" / name[:2] / name
    stat = file.stat()
    file.write_bytes(b"SOME BYTES")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CorruptArtifact):
        await ArtifactStore(tmp_path).path(name)


async def test_verify_sees_damage_that_kept_size_and_time(store: ArtifactStore) -> None:
    name = await store.put_bytes(b"some bytes")
    file = file_of(store, name)
    stat = file.stat()
    file.write_bytes(b"SOME BYTES")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CorruptArtifact):
        await store.verify(name)


async def test_quarantine_is_bounded(store: ArtifactStore) -> None:
    for number in range(20):
        name = await store.put_bytes(str(number).encode())
        file_of(store, name).write_bytes(b"damage")
        with pytest.raises(CorruptArtifact):
            await store.path(name)
    assert len(list((store.root / "quarantine").iterdir())) == 16


async def test_a_full_disk_is_said_plainly(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts_writer.os, "open", no_space)
    with pytest.raises(StorageFull, match="full"):
        await store.put_bytes(b"x")


async def test_a_bucket_needs_a_folder_for_copies() -> None:
    with pytest.raises(StorageError, match="folder"):
        ArtifactStore("s3://bucket/prefix")


async def test_a_bucket_is_the_source_of_a_copy(tmp_path: Path) -> None:
    """obstore's in-memory bucket stands for S3, GCS or Azure: the same calls reach it."""
    here = ArtifactStore("memory:///", cache=tmp_path / "a")
    name = await here.put_bytes(b"shared")
    file_of(here, name).unlink()
    assert await here.has(name)
    assert (await here.path(name)).read_bytes() == b"shared"
    await here.delete(name)
    assert not await here.has(name)


async def test_trimming_takes_the_oldest_and_leaves_the_young(store: ArtifactStore) -> None:
    names = [await store.put_bytes(bytes([number]) * 100) for number in range(4)]
    for age, name in enumerate(reversed(names)):
        os.utime(file_of(store, name), (1_000_000 - age, 1_000_000 - age))
    young = await store.put_bytes(b"young" * 20)
    await store.trim(keep_bytes=250, keep_ms=60_000)
    assert [await store.has(name) for name in names] == [False, False, False, True]
    assert await store.has(young)
    await store.trim(keep_bytes=0, keep_ms=60_000)
    assert await store.has(young)
    assert not await store.has(names[3])


async def test_large_pieces_are_kept_in_order(store: ArtifactStore) -> None:
    pieces = [bytes([n]) * size for n, size in enumerate([1 << 20, 10, 300_000, 1, 1 << 20] * 3)]
    async with store.writer(expected=hashlib.sha256(b"".join(pieces)).hexdigest()) as writer:
        for piece in pieces:
            await writer.write(memoryview(piece))
    assert b"".join([piece async for piece in store.read(writer.artifact_id)]) == b"".join(pieces)


async def test_a_small_piece_never_overtakes_large_ones(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [bytes([n]) * (1 << 20) for n in range(5)]
    writer = store.writer(expected=hashlib.sha256(b"".join([*pieces, b"x"])).hexdigest())
    with monkeypatch.context() as patch:
        # A thread that came to its end just before the first piece was there to be seen.
        patch.setattr(writer, "_drain", lambda _file: None)
        for piece in pieces:
            await writer.write(piece)
    await writer.write(b"x")
    assert (await store.path(await writer.commit())).stat().st_size == (5 << 20) + 1


async def test_what_fails_beside_is_raised_and_nothing_is_kept(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = store.writer()
    await writer.write(b"x")
    monkeypatch.setattr(writer, "_put", no_space)
    with pytest.raises(StorageFull, match="full"):
        for _ in range(20):
            await writer.write(bytes(1 << 20))
    writer.discard()
    assert not list((store.root / "incoming").iterdir())


async def test_pieces_behind_a_failed_one_fail_the_commit(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = store.writer()
    monkeypatch.setattr(writer, "_put", no_space)
    await writer.write(bytes(1 << 20))
    with pytest.raises(StorageFull, match="full"):
        await writer.commit()
    assert not writer.artifact_id
