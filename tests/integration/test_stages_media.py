"""Frames, segments and the joined video: exact, bounded, playable."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reelmesh.node.stages import StageCancelled, StageFailed, load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.frames import FrameWriter, read_frames, write_frames
from reelmesh.node.stages.media import MediaLimits

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 60), (40, 60, 230)


def context(folder: Path, **more: object) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(torch.device("cpu"), folder, **more)  # type: ignore[arg-type]


def noise(count: int = 5, height: int = 48, width: int = 80) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_frames_are_exact_and_their_bytes_repeat(tmp_path: Path) -> None:
    pictures = noise()
    path = write_frames(tmp_path / "a.mkv", pictures)
    assert np.array_equal(read_frames(path, MediaLimits(5, 80, 48)), pictures)
    assert np.array_equal(read_frames(path, MediaLimits(5), 2, 4), pictures[2:4])
    assert write_frames(tmp_path / "b.mkv", pictures).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "limits", [MediaLimits(4), MediaLimits(5, width=64), MediaLimits(5, height=64)]
)
def test_frames_beyond_their_limits_are_refused(tmp_path: Path, limits: MediaLimits) -> None:
    path = write_frames(tmp_path / "a.mkv", noise())
    with pytest.raises(StageFailed) as caught:
        read_frames(path, limits)
    assert caught.value.reason == "bad_input"


def test_missing_frames_are_noticed(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.mkv", noise())
    with pytest.raises(StageFailed, match="has 5 pictures, not 6"):
        read_frames(path, MediaLimits(10), 0, 6)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9])
def test_truncated_frames_are_refused(tmp_path: Path, share: float) -> None:
    path = write_frames(tmp_path / "a.mkv", noise())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(StageFailed):
        read_frames(path, MediaLimits(5), 0, 5)


def test_a_playlist_is_not_followed(tmp_path: Path) -> None:
    secret = write_frames(tmp_path / "secret.mkv", noise())
    for text in (f"ffconcat version 1.0\nfile {secret}\n", f"#EXTM3U\n#EXTINF:1,\n{secret}\n"):
        path = tmp_path / "frames"
        path.write_text(text)
        with pytest.raises(StageFailed):
            read_frames(path, MediaLimits(5))


def test_other_codecs_and_more_streams_are_refused(tmp_path: Path) -> None:
    for name, codecs in (("ffv1", ["ffv1"]), ("two", ["libx264rgb", "libx264rgb"])):
        path = tmp_path / name
        with av.open(str(path), "w", format="matroska") as file:
            streams = [file.add_stream(codec, rate=25) for codec in codecs]
            for stream in streams:
                stream.width, stream.height = 64, 64
                stream.pix_fmt = "bgr0"
            for stream in streams:
                picture = av.VideoFrame.from_ndarray(noise(1, 64, 64)[0], format="rgb24")
                file.mux(stream.encode(picture.reformat(format="bgr0")))
                file.mux(stream.encode(None))
        with pytest.raises(StageFailed):
            read_frames(path, MediaLimits(5))


def test_a_writer_refuses_other_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not"), FrameWriter(tmp_path / "a", 64, 64) as writer:
        writer.write(noise(1, 48, 64)[0])
    with pytest.raises(ValueError, match="cannot"):
        FrameWriter(tmp_path / "b", 10**6, 10**6)


def segment(
    folder: Path, colour: tuple[int, int, int], count: int, *, side: int = 64, fps: int = 24
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.empty((count, side, side, 3), np.uint8)
    pictures[:] = colour
    frames = write_frames(folder / "in.mkv", pictures)
    params = SimpleNamespace(fps=fps, crf=18, frames=count, width=side, height=side)
    outputs = load_stage("encode_video").run(params, {"frames": frames}, context(folder))
    return outputs["segment"]


def assemble(folder: Path, segments: list[Path], fps: int = 24) -> Path:
    params = SimpleNamespace(fps=fps, segments=len(segments))
    inputs = {f"segment-{i}": path for i, path in enumerate(segments)}
    return load_stage("assemble").run(params, inputs, context(folder))["video"]


def test_a_video_plays_every_segment_in_order(tmp_path: Path) -> None:
    parts = [(RED, 8), (GREEN, 1), (BLUE, 13)]
    segments = [segment(tmp_path / str(i), *part) for i, part in enumerate(parts)]
    video = assemble(tmp_path / "out", segments)
    with av.open(str(video)) as media:
        stream = media.streams.video[0]
        times = [packet.pts for packet in media.demux(stream) if packet.size]
        step = times[1] - times[0]
        assert times == [i * step for i in range(22)]
        assert step * stream.time_base * 24 == 1
        assert stream.average_rate == 24
        assert stream.frames == 22
        assert stream.codec_context.pix_fmt == "yuv420p"
        # 1 is BT.709, for matrix, primaries and transfer; 1 is limited range.
        codec = stream.codec_context
        tags = (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)
        assert tags == (1, 1, 1, 1)
    with av.open(str(video)) as media:
        pictures = [frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)]
    wanted = [colour for colour, count in parts for _ in range(count)]
    for picture, colour in zip(pictures, wanted, strict=True):
        assert np.abs(picture.reshape(-1, 3).mean(axis=0) - colour).max() < 6


def test_the_index_stands_before_the_pictures(tmp_path: Path) -> None:
    data = assemble(tmp_path / "out", [segment(tmp_path / "0", RED, 3)]).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_encoding_and_joining_again_gives_the_same_bytes(tmp_path: Path) -> None:
    runs = []
    for run in ("a", "b"):
        folder = tmp_path / run
        segments = [segment(folder / "0", RED, 4), segment(folder / "1", BLUE, 4)]
        runs.append([path.read_bytes() for path in (*segments, assemble(folder, segments))])
    assert runs[0] == runs[1]


def test_segments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = segment(tmp_path / "good", RED, 4)
    others = {
        "size": segment(tmp_path / "size", RED, 4, side=128),
        "rate": segment(tmp_path / "rate", RED, 4, fps=30),
        "frames": write_frames(tmp_path / "frames.mkv", noise()),
    }
    for name, other in others.items():
        with pytest.raises(StageFailed) as caught:
            assemble(tmp_path / "out", [good, other])
        assert caught.value.reason == "bad_input", name


def test_too_few_or_too_many_pictures_to_encode(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "in.mkv", noise(5, 64, 64))
    for count in (4, 6):
        params = SimpleNamespace(fps=24, crf=18, frames=count, width=64, height=64)
        with pytest.raises(StageFailed):
            load_stage("encode_video").run(params, {"frames": frames}, context(tmp_path / "out"))


def test_a_cancelled_run_stops(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "in.mkv", noise(5, 64, 64))
    params = SimpleNamespace(fps=24, crf=18, frames=5, width=64, height=64)
    asked = iter([False, False, True])
    stopped = context(tmp_path / "out", cancelled=lambda: next(asked))
    with pytest.raises(StageCancelled):
        load_stage("encode_video").run(params, {"frames": frames}, stopped)
    assert next(asked, None) is None
