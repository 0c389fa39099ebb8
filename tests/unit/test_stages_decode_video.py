"""A buyer's video: whatever its sort, it comes out upright, SDR, at the size and rate asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from footage_maker import greys, quarters, write_footage
from numpy.typing import NDArray

from reelmesh.node.cli.media import footage_facts, footage_source
from reelmesh.node.cli.submitting import InvalidOption
from reelmesh.node.stages import StageFailed, load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.frames import read_frames
from reelmesh.node.stages.hdr import HLG, PQ, nits_to_pq
from reelmesh.node.stages.media import MediaLimits
from reelmesh.scheduler.stages import parse_params

# With frame threads and B-frames x265 now and then gives a clip this short no valid time stamps.
X265 = {"x265-params": "log-level=none:pools=none:frame-threads=1:bframes=0", "crf": "4"}


def decoded(path: Path, frames: int = 5, **wanted: Any) -> tuple[NDArray[np.uint8], str]:
    """The pictures, and what the stage said of them."""
    notes: list[str] = []
    workdir = path.parent / f"{path.name}-out"
    workdir.mkdir(exist_ok=True)
    context = StageContext(torch.device("cpu"), workdir, lambda _, note: notes.append(note))
    given = {"start": 0.0, "frames": frames, "fps": 25, "width": 64, "height": 48, **wanted}
    stage = load_stage("decode_video")
    out = stage.run(parse_params("decode_video", given), {"video": path}, context)
    return read_frames(out["frames"], MediaLimits(2000)), notes[-1]


def brightness(pictures: NDArray[np.uint8]) -> list[int]:
    """The number in `greys` of each picture."""
    return [round((float(mean) - 20) / 10) for mean in pictures.mean(axis=(1, 2, 3))]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", None),
        ("a.mov", "libx264", None),
        ("a.mkv", "libx265", X265),
        ("a.webm", "libvpx", {"crf": "10", "b": "1M"}),
        ("b.webm", "libvpx-vp9", None),
        ("b.mp4", "libsvtav1", None),
    ],
)
def test_each_container_and_codec_is_decoded(
    tmp_path: Path, name: str, codec: str, options: dict[str, str] | None
) -> None:
    path = write_footage(tmp_path / name, greys(8), codec=codec, options=options)
    found, said = decoded(path, 8)
    assert found.shape == (8, 48, 64, 3)
    assert brightness(found) == list(range(8))
    assert said == ""


def test_colours_come_out_as_they_went_in(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mp4", [quarters()] * 2)
    found, _ = decoded(path, 2)
    for y, x in ((10, 10), (10, 50), (40, 10), (40, 50)):
        assert np.abs(found[0, y, x].astype(int) - quarters()[y, x]).max() <= 3


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_variable_frame_rate_is_resampled_by_time(tmp_path: Path, name: str) -> None:
    path = write_footage(tmp_path / name, greys(5), times_ms=[0, 40, 500, 520, 900])
    found, _ = decoded(path, 24)
    assert brightness(found) == [0] + [1] * 11 + [2] + [3] * 9 + [4] * 2
    later, _ = decoded(path, 5, start=0.45)
    assert brightness(later) == [1, 2, 3, 3, 3]


def test_a_stretch_far_inside_is_the_same_as_there_from_the_beginning(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 30 + i % 150, np.uint8) for i in range(140)]
    path = write_footage(tmp_path / "a.mp4", pictures, options={"g": "30", "crf": "8"})
    whole, _ = decoded(path, 140)
    part, _ = decoded(path, 10, start=4.0)
    assert np.array_equal(whole[100:110], part)


# Where the stored picture's red quarter is seen: (row, column) from the top left.
@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))]
)
def test_turned_footage_comes_upright(
    tmp_path: Path, rotation: int, corner: tuple[int, int]
) -> None:
    path = write_footage(tmp_path / "a.mp4", [quarters()] * 2, rotation=rotation)
    width, height = (64, 48) if rotation in (0, 180) else (48, 64)
    found, said = decoded(path, 2, width=width, height=height)
    seen = found[0, height // 4 + corner[0] * height // 2, width // 4 + corner[1] * width // 2]
    assert np.abs(seen.astype(int) - (255, 0, 0)).max() < 6
    assert ("upright" in said) == (rotation != 0)
    facts = footage_facts(path)
    assert (facts.width, facts.height) == (width, height)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_what_is_transparent_becomes_white(tmp_path: Path, codec: str) -> None:
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[..., 0], rgba[:, 32:, 3], rgba[:24, :32, 3] = 200, 255, 128
    path = write_footage(
        tmp_path / "a.webm", [rgba] * 2, codec=codec, pix_fmt="yuva420p", source_fmt="rgba",
        options={"auto-alt-ref": "0"},
    )  # fmt: skip
    found, said = decoded(path, 2)
    for place, colour in (((40, 5), 255), ((40, 60), (200, 0, 0)), ((5, 5), (227, 127, 127))):
        assert np.abs(found[0][place].astype(int) - colour).max() < 8
    assert "white" in said


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_keeps_its_tones_instead_of_being_cut(tmp_path: Path, transfer: int, name: str) -> None:
    nits = np.float32([0, 1, 10, 26, 50, 100, 203, 400, 1000])
    row = np.repeat(nits_to_pq(nits), 8)
    deep = np.broadcast_to((row * 65535).astype(np.uint16)[None, :, None], (48, 72, 3))
    path = write_footage(
        tmp_path / "a.mkv", [np.ascontiguousarray(deep)] * 2, codec="libx265", options=X265,
        pix_fmt="yuv420p10le", source_fmt="rgb48le",
        tags={"color_trc": transfer, "color_primaries": 9, "colorspace": 9},
    )  # fmt: skip
    found, said = decoded(path, 2, width=72)
    tones = found[0, 20, 4::8, 1].astype(int)
    assert name in said
    assert (np.diff(tones) > 2).all()  # no highlight is lost, nothing is out of order
    if transfer == PQ:
        # Grey of 26 cd/m² is a middle grey; diffuse white is bright and not the brightest.
        assert 95 < tones[3] < 125
        assert 210 < tones[6] < 245
        assert tones[-1] > 250


@pytest.mark.parametrize("audio", [False, True])
def test_sound_or_none_makes_no_difference(tmp_path: Path, audio: bool) -> None:
    path = write_footage(tmp_path / "a.mp4", greys(8), audio=audio)
    assert brightness(decoded(path, 8)[0]) == list(range(8))
    facts = footage_facts(path)
    assert facts.audio is audio
    assert facts.seconds == pytest.approx(0.32, abs=0.02)
    assert facts.fps == pytest.approx(25)


def test_interlaced_pictures_come_without_combs(tmp_path: Path) -> None:
    woven = np.zeros((48, 64, 3), np.uint8)
    woven[::2, :32], woven[1::2, 32:] = 200, 200
    path = write_footage(
        tmp_path / "a.mp4", [woven] * 2, options={"crf": "4", "x264-params": "tff=1"},
        pix_fmt="yuv444p",
    )  # fmt: skip
    found, said = decoded(path, 2)
    assert "interlaced" in said
    assert np.abs(np.diff(found[0, 8:40, 5].astype(int), axis=0)).max() < 8


def test_odd_sizes_and_both_fits(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mp4", greys(2, 49, 63), pix_fmt="yuv444p")
    assert decoded(path, 2, width=51, height=33)[0].shape == (2, 33, 51, 3)
    filled = decoded(path, 2, width=64, height=16)[0][0]
    barred = decoded(path, 2, width=64, height=16, fit="contain")[0][0]
    assert filled.min() > 15
    assert barred[8, 0].max() == 0
    assert barred[8, 32].min() > 15


def test_what_is_no_usable_video_is_refused_in_one_line(tmp_path: Path) -> None:
    good = write_footage(tmp_path / "good.mp4", greys(8)).read_bytes()
    webm = write_footage(tmp_path / "good.mkv", greys(8)).read_bytes()
    cases = {
        "empty": (b"", "0 bytes"),
        "text": (b"#EXTM3U\nfile:///etc/passwd\n", "no MP4"),
        "gif": (b"GIF89a" + bytes(50), "no MP4"),
        "cut.mp4": (good[:-60], "cut short"),
        "cut.mkv": (webm[: len(webm) // 2], "cut short"),
        "head.mp4": (good[:40], "cut short"),
        "unfinished.mp4": (good[: good.index(b"moov") - 4], "no index"),
        "noise.mkv": (webm[:40] + bytes(range(256)) * 20, "cannot be used"),
    }
    for name, (data, says) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(StageFailed, match=says) as caught:
            decoded(path)
        assert caught.value.reason == "bad_input"
        assert "\n" not in caught.value.message
        with pytest.raises(InvalidOption, match=says):
            footage_source(path)
            footage_facts(path)


def test_a_video_shorter_than_asked_says_where_it_ends(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mp4", greys(8))
    with pytest.raises(StageFailed, match=r"ends at 0\.3 s"):
        decoded(path, 100)
    held, _ = decoded(path, 15)  # a little more than there is: the last picture stays
    assert brightness(held)[7:] == [7] * 8


def test_a_video_without_pictures_says_so(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        from footage_maker import _add_silence

        _add_silence(file, file.add_stream("aac", rate=8000), 0.5)
    with pytest.raises(StageFailed, match="no video in it"):
        decoded(path)


def test_enormous_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    large = np.zeros((2400, 4500, 3), np.uint8)
    path = write_footage(tmp_path / "a.mp4", [large], options={"preset": "ultrafast"})
    with pytest.raises(StageFailed, match="4500x2400"):
        decoded(path, 1)
    with pytest.raises(InvalidOption, match="4500x2400"):
        footage_facts(path)


def test_the_source_is_named_by_its_hash(tmp_path: Path) -> None:
    import hashlib

    path = write_footage(tmp_path / "a.mp4", greys(4))
    found = footage_source(path)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.size, found.kind) == (path.stat().st_size, "footage")
