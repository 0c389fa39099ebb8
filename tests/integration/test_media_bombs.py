"""A stranger's picture or video that is far larger than it looks ends its own run and no other."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from footage_maker import greys, write_footage

from reelmesh.node.worker import RunRequest, StageFailed, Worker, WorkerOutOfMemory
from reelmesh.node.worker.memory import held_to, ran_out

VIDEO = '{"start":0.0,"frames":4,"fps":25,"width":64,"height":48}'
PICTURE = '{"width":256,"height":256}'


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with Worker("cpu", 1, tmp_path / "scratch", memory_limit_mb=2500) as started:
        yield started


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of 16 bits and alpha, all one colour: a thousandth of the size that it unpacks to."""
    packer = zlib.compressobj(6)
    packed = b"".join(packer.compress(bytes(1 + 8 * width)) for _ in range(height))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)),
        (b"IDAT", packed + packer.flush()),
        (b"IEND", b""),
    )
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data)
            file.write(struct.pack(">I", zlib.crc32(name + data)))
    return path


async def test_a_picture_that_unpacks_to_gigabytes_ends_only_its_own_run(
    worker: Worker, tmp_path: Path
) -> None:
    huge = bomb(tmp_path / "huge.png", 7000, 7000)
    assert huge.stat().st_size < 2 << 20
    with pytest.raises(WorkerOutOfMemory) as caught:
        await worker.run(RunRequest("encode_image", 1, PICTURE, {"image": huge}, 100))
    assert "memory" in caught.value.message
    assert "\n" not in caught.value.message
    small = bomb(tmp_path / "small.png", 100, 80)
    done = await worker.run(RunRequest("encode_image", 1, PICTURE, {"image": small}, 100))
    assert done.outputs["frames"].is_file()


async def test_a_video_beyond_bounds_ends_only_its_own_run(worker: Worker, tmp_path: Path) -> None:
    large = [np.zeros((2400, 4500, 3), np.uint8)] * 2
    huge = write_footage(tmp_path / "huge.mp4", large, options={"preset": "ultrafast"})
    with pytest.raises(StageFailed, match="4500x2400"):
        await worker.run(RunRequest("decode_video", 1, VIDEO, {"video": huge}, 100))
    pid = worker.pid
    good = write_footage(tmp_path / "good.mp4", greys(4))
    done = await worker.run(RunRequest("decode_video", 1, VIDEO, {"video": good}, 100))
    assert done.outputs["frames"].is_file()
    assert worker.pid == pid


async def test_pictures_that_grow_in_the_middle_of_a_video_are_not_decoded(
    worker: Worker, tmp_path: Path
) -> None:
    # Annex B in MPEG-4 part 15's clothes: the second key frame brings its own, larger size.
    small, large = tmp_path / "small.h264", tmp_path / "large.h264"
    tiny = [np.zeros((48, 64, 3), np.uint8)] * 2
    write_footage(small, tiny)
    write_footage(large, [np.zeros((4352, 4352, 3), np.uint8)], options={"preset": "ultrafast"})
    grows = remuxed(tmp_path / "grows.mkv", small.read_bytes(), large.read_bytes())
    with pytest.raises(StageFailed, match="cannot be used"):
        await worker.run(RunRequest("decode_video", 1, VIDEO, {"video": grows}, 100))


def remuxed(path: Path, first: bytes, second: bytes) -> Path:
    """An MKV that says the first stream's size, and holds both."""
    import io
    from fractions import Fraction

    import av

    with (
        av.open(io.BytesIO(first), "r", format="h264") as source,
        av.open(io.BytesIO(second), "r", format="h264") as more,
        av.open(str(path), "w", format="matroska") as file,
    ):
        stream = file.add_stream_from_template(source.streams.video[0])
        number = 0
        for media in (source, more):
            for packet in media.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    packet.pts = packet.dts = number * 40
                    packet.time_base = Fraction(1, 1000)
                    number += 1
                    file.mux(packet)
    return path


def test_the_limit_holds_within_the_block_and_not_after() -> None:
    with held_to(200), pytest.raises(MemoryError) as caught:
        np.ones(1 << 30, np.uint8)
    assert ran_out(caught.value)
    assert np.ones(300 << 20, np.uint8).nbytes == 300 << 20


def test_decoding_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reelmesh.node.stages import footage

    monkeypatch.setattr(footage, "_MOST_CPU_S", -1.0)
    path = write_footage(tmp_path / "a.mp4", greys(4))
    with (
        pytest.raises(StageFailed, match="takes more than"),
        footage.open_footage(path) as reel,
    ):
        list(reel.pictures(0.0, 0.1))
