"""A buyer's video, edited: longer, slower, faster, in another look; every stage in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from footage_maker import write_footage
from numpy.typing import NDArray

from reelmesh.node.cli.asking import build_request
from reelmesh.node.cli.options import JobOptions
from reelmesh.node.cli.submitting import InvalidOption
from reelmesh.node.stages.local import run_plan_locally
from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.plan import parse_plan
from reelmesh.scheduler.templates import make_plan

SIDE = 256


def grain() -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).normal(0, 60, (SIDE, SIDE + 96, 3))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 3) * 7 + 120, 0, 255).astype(np.uint8)


def ball(x: float) -> NDArray[np.uint8]:
    picture = np.full((SIDE, SIDE, 3), (20, 30, 110), np.uint8)
    place = (round(x * 16), 128 * 16)
    cv2.circle(picture, place, 26 * 16, (230, 50, 40), -1, cv2.LINE_AA, shift=4)
    return picture


@pytest.fixture
def rolling(tmp_path: Path) -> Path:
    """A ball that goes right, 2 pixels a frame, for 30 frames at 24 a second; with sound."""
    pictures = [ball(60 + 2 * i) for i in range(30)]
    return write_footage(tmp_path / "rolling.mp4", pictures, fps=24, audio=True)


@pytest.fixture
def panning(tmp_path: Path) -> Path:
    """A camera that pans right, 2 pixels a frame, for 30 frames."""
    wide = grain()
    pictures = [wide[:, 2 * i : 2 * i + SIDE] for i in range(30)]
    return write_footage(tmp_path / "panning.mp4", pictures, fps=24)


def made(video: Path, folder: Path, prompt: str = "", **asked: Any) -> list[NDArray[np.uint8]]:
    request = build_request(
        JobOptions(prompt=prompt, video=video, seed=1, fps=24, size="256x256", **asked)
    )
    plan = make_plan(request.spec)
    assert parse_plan(canonical(plan)) == plan
    digest = request.spec.sources()["video"].sha256
    result = run_plan_locally(plan, folder / "work", sources={digest: video})
    with av.open(str(result)) as media:
        frames = [frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)]
    assert len(frames) == request.spec.frames
    return frames  # type: ignore[return-value]


def place(picture: NDArray[np.uint8]) -> float:
    red = (picture[..., 0] > 140) & (picture[..., 2] < 90)
    return float(np.argwhere(red).mean(axis=0)[1])


def steps(frames: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    return np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:])])  # noqa: B905, RUF007


def test_half_speed_is_twice_as_long_and_smooth(rolling: Path, tmp_path: Path) -> None:
    frames = made(rolling, tmp_path, retime=0.5)
    assert len(frames) == 60
    ways = np.diff([place(frame) for frame in frames[:56]])
    assert ways == pytest.approx(1.0, abs=0.6)
    assert ways.mean() == pytest.approx(1.0, abs=0.1)


def test_double_speed_is_half_as_long(rolling: Path, tmp_path: Path) -> None:
    frames = made(rolling, tmp_path, retime=1.25)
    assert len(frames) == 24
    assert np.diff([place(frame) for frame in frames]).mean() == pytest.approx(2.5, abs=0.2)


def test_a_ball_rolls_on(rolling: Path, tmp_path: Path) -> None:
    frames = made(rolling, tmp_path, extend=0.5)
    assert len(frames) == 42
    ways = np.diff([place(frame) for frame in frames])
    assert ways == pytest.approx(2.0, abs=0.7)


def test_a_pan_goes_on_and_comes_to_rest_without_a_jerk(panning: Path, tmp_path: Path) -> None:
    frames = made(panning, tmp_path, extend=1.5)
    change = steps(frames)
    around = np.median(np.concatenate([change[25:29], change[30:34]]))
    assert change[29] <= 1.5 * around
    assert change[-1] < 0.6 * change[28]
    patch = frames[29][100:150, 100:150]
    found = cv2.matchTemplate(frames[36], patch, cv2.TM_SQDIFF)
    assert cv2.minMaxLoc(found)[2][0] < 95  # what is seen goes left, as before


@pytest.mark.parametrize("look", ["a pencil sketch", "like a cartoon", "watercolour", "at night"])
def test_a_look_is_steady_over_time(tmp_path: Path, look: str) -> None:
    plain = write_footage(tmp_path / "still.mp4", [noisy(i) for i in range(24)], fps=24)
    frames = made(plain, tmp_path, look, restyle=True)
    source = steps([noisy(i) for i in range(24)])
    assert np.median(steps(frames[2:])) < 1.5 * np.median(source)
    assert np.abs(frames[0].astype(int) - noisy(0)).mean() > 8


def noisy(number: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(number)
    still = grain()[:, :SIDE].astype(np.float64) + rng.normal(0, 3, (SIDE, SIDE, 3))
    return np.clip(still, 0, 255).astype(np.uint8)


def test_what_cannot_be_is_refused_before_anything_is_posted(rolling: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"extend": 2.0}, "needs a video"),
        ({"video": rolling}, "nothing to do"),
        ({"video": rolling, "extend": 1.0, "retime": 0.5}, "two jobs"),
        ({"video": rolling, "restyle": True}, "needs a look"),
        ({"video": rolling, "restyle": True, "prompt": "as jazz"}, "no look is known"),
        ({"video": rolling, "retime": 0.0}, "0.25 to 4"),
        ({"video": rolling, "retime": 0.3}, "steps of 0.25"),
        ({"video": rolling, "extend": 9.0}, "0.5 to 4"),
        ({"video": rolling, "extend": 1.0, "start": 5.0}, "ends at"),
        ({"video": rolling, "extend": 1.0, "steps": 20}, "means nothing"),
    ]
    for said, says in cases:
        with pytest.raises((InvalidOption, Exception), match=says) as caught:
            build_request(JobOptions(**{"prompt": "", **said}))
        assert hasattr(caught.value, "hint"), said


def test_the_buyer_is_told_that_sound_is_left_out(rolling: Path, panning: Path) -> None:
    heard = build_request(JobOptions(video=rolling, retime=0.5))
    assert any("sound is left out" in note for note in heard.notes)
    assert heard.spec.prompt == "rolling at 0.5 times speed"
    assert not any("sound" in n for n in build_request(JobOptions(video=panning, retime=0.5)).notes)
