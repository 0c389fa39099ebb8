"""Sound from a clip to the MP4: in sync, whole, the same bytes twice; speech where flite is."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from reelmesh.node.stages import StageFailed, load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.frames import write_frames
from reelmesh.node.stages.sounds import RATE, read_sound, write_sound
from reelmesh.scheduler.stages import parse_params

FPS, FRAMES, SIDE = 24, 36, 64
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


def run(name: str, params: dict[str, Any], folder: Path, **inputs: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stage = load_stage(name)
    stage.load(torch.device("cpu"))
    context = StageContext(torch.device("cpu"), folder)
    (path,) = stage.run(parse_params(name, params), inputs, context).values()
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    pictures = np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8)
    for i, picture in enumerate(pictures):
        picture[:, i : i + 10] = 255
    frames = write_frames(folder / "frames.mkv", pictures)
    segment = run(
        "encode_video",
        {"fps": FPS, "crf": 20, "frames": FRAMES, "width": SIDE, "height": SIDE},
        folder / "e",
        frames=frames,
    )
    return run("assemble", {"fps": FPS, "segments": 1}, folder / "a", **{"segment-0": segment})


def clicks(*seconds: float, length_s: float = FRAMES / FPS) -> np.ndarray[Any, Any]:
    pcm = np.zeros((2, round(length_s * RATE)), np.int16)
    tone = 20000 * np.sin(np.arange(2000) / 3) * np.linspace(1, 0, 2000)
    for at in seconds:
        pcm[:, round(at * RATE) : round(at * RATE) + 2000] = tone
    return pcm


def muxed(video: Path, sound: Path, folder: Path) -> Path:
    params = {"fps": FPS, "frames": FRAMES, "video_bytes": video.stat().st_size}
    return run("mux", params, folder, video=video, sound=sound)


def heard(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as film:
        blocks = [(frame.pts, frame.to_ndarray()) for frame in film.decode(audio=0)]
    assert blocks[0][0] == 0
    return np.concatenate([samples for _, samples in blocks], axis=1)


def test_both_streams_begin_and_end_together(video: Path, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "s.flac", clicks(0.25, 1.0))
    path = muxed(video, sound, tmp_path / "m")
    with av.open(str(path)) as film:
        pictures, track = film.streams.video[0], film.streams.audio[0]
        assert (pictures.codec_context.name, track.codec_context.name) == ("h264", "aac")
        assert (track.rate, len(track.layout.channels)) == (RATE, 2)
        lengths = [float(s.duration * s.time_base) for s in (pictures, track)]
        assert abs(lengths[0] - lengths[1]) <= 1 / FPS
        assert sum(1 for _ in film.decode(pictures)) == FRAMES
    level = np.abs(heard(path)).max(axis=0)
    for at in (0.25, 1.0):
        around = level[round((at - 0.1) * RATE) : round((at + 0.1) * RATE)]
        assert np.argmax(around > 0.3) / RATE - 0.1 == pytest.approx(0, abs=0.003)


def test_the_pictures_are_copied_and_the_bytes_repeat(video: Path, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "s.flac", clicks(0.5))
    once, again = (muxed(video, sound, tmp_path / name) for name in "ab")
    assert once.read_bytes() == again.read_bytes()

    def pictures(path: Path) -> list[bytes]:
        with av.open(str(path)) as film:
            return [bytes(packet) for packet in film.demux(video=0) if packet.size]

    assert pictures(once) == pictures(video)


@pytest.mark.parametrize("off_s", [-0.03, 0.03])
def test_a_sound_a_little_off_is_fitted(video: Path, tmp_path: Path, off_s: float) -> None:
    sound = write_sound(tmp_path / "s.flac", clicks(0.5, length_s=FRAMES / FPS + off_s))
    with av.open(str(muxed(video, sound, tmp_path / "m"))) as film:
        track = film.streams.audio[0]
        assert float(track.duration * track.time_base) == pytest.approx(FRAMES / FPS, abs=0.03)


@pytest.mark.parametrize(
    ("change", "length_s", "says"),
    [({}, 0.5, "lasts"), ({"frames": 35}, 1.46, "has not"), ({"fps": 25}, 1.44, "pictures/s")],
)
def test_what_does_not_belong_together_is_refused(
    video: Path, tmp_path: Path, change: dict[str, int], length_s: float, says: str
) -> None:
    sound = write_sound(tmp_path / "s.flac", clicks(length_s=length_s))
    params = {"fps": FPS, "frames": FRAMES, "video_bytes": 1000, **change}
    with pytest.raises(StageFailed, match=says) as caught:
        run("mux", params, tmp_path / "m", video=video, sound=sound)
    assert caught.value.reason == "bad_input"


@needs_flite
def test_a_line_is_spoken_within_its_time(tmp_path: Path) -> None:
    line = {"text": "Hello there, I am a red ball.", "style": "natural"}
    said = read_sound(run("speech", {**line, "seconds": 10.0}, tmp_path / "a"))
    assert len(said) == 1
    assert 1.0 < said.shape[1] / RATE < 4.0
    assert np.abs(said).max() > 3000
    short = read_sound(run("speech", {**line, "seconds": 1.5}, tmp_path / "b"))
    assert 0.8 < short.shape[1] / RATE <= 1.5
    again = run("speech", {**line, "seconds": 1.5}, tmp_path / "c")
    assert again.read_bytes() == (tmp_path / "b" / "sound.flac").read_bytes()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["sound.flac"]


@needs_flite
def test_styles_have_voices_of_their_own(tmp_path: Path) -> None:
    styles = ("natural", "wooden", "metallic", "cartoon", "soft")
    made = {
        run("speech", {"text": "Hi!", "style": s, "seconds": 2.0}, tmp_path / s).read_bytes()
        for s in styles
    }
    assert len(made) == len(styles)


def test_without_flite_the_stage_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelmesh.node.stages.speech.shutil", SimpleNamespace(which=lambda _: None))
    with pytest.raises(StageFailed, match="flite") as caught:
        load_stage("speech").load(torch.device("cpu"))
    assert caught.value.reason == "not_installed"
    assert "apt-get install flite" in caught.value.hint
