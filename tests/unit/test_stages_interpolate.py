"""Frames between frames, against pictures drawn at the true place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from reelmesh.node.stages.interpolate import make_timeline
from reelmesh.node.stages.track import Track, follow

SIDE = 64
Path2D = Callable[[float], tuple[float, float]]
SKY, BLUE, RED = (160.0, 210.0, 250.0), (20.0, 60.0, 240.0), (230.0, 30.0, 30.0)


def _cover(x: float, y: float, radius: float, hole: float) -> NDArray[np.float64]:
    ys, xs = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    far = np.hypot(xs - x, ys - y)
    inside = np.clip(radius - far + 0.5, 0, 1)
    return (inside * np.clip(far - hole + 0.5, 0, 1))[..., None] if hole else inside[..., None]


def _ring(x: float, y: float, radius: float = 7, hole: float = 4) -> NDArray[np.uint8]:
    cover = _cover(x, y, radius, hole)
    return np.rint(cover * BLUE + (1 - cover) * np.array(SKY)).astype(np.uint8)


def _circle(t: float) -> tuple[float, float]:
    angle = 2 * np.pi * t
    return 32 + 14 * np.cos(angle), 32 + 14 * np.sin(angle)


def _line(t: float) -> tuple[float, float]:
    return 14 + 36 * t, 40 - 12 * t


@pytest.mark.parametrize("path", [_circle, _line])
def test_a_thin_ring_is_where_it_should_be(path: Path2D) -> None:
    """It moves by twice the width of its band between two source frames."""
    source = np.stack([_ring(*path(k / 15)) for k in range(16)])
    total = 61
    worst = 0.0
    for i, picture in enumerate(make_timeline(source, 0, total, total)):
        truth = _ring(*path(i / (total - 1))).astype(float)
        error = np.abs(picture - truth).mean()
        worst = max(worst, error)
        ink = np.abs(picture.astype(float) - SKY).sum() / np.abs(truth - SKY).sum()
        assert 0.95 < ink < 1.05, f"frame {i} shows {ink:.2f} rings"
    # A ring half a pixel off would be wrong by 2.3; a cross-fade, by more than 5.
    assert worst < 1.6


def test_two_objects_moving_apart_are_each_seen_once() -> None:
    def scene(t: float) -> NDArray[np.uint8]:
        a = _cover(14 + 30 * t, 18, 8, 0)
        b = _cover(50 - 30 * t, 46, 8, 0)
        picture = a * RED + b * BLUE + (1 - a - b) * np.array((40.0, 40.0, 40.0))
        return np.rint(picture).astype(np.uint8)

    source = np.stack([scene(k / 15) for k in range(16)])
    made = list(make_timeline(source, 0, 46, 46))
    for i, picture in enumerate(made):
        assert np.abs(picture - scene(i / 45).astype(float)).mean() < 1.6, f"frame {i}"


def test_a_moving_camera_is_followed() -> None:
    rng = np.random.default_rng(3)
    coarse = rng.uniform(0, 255, (12, 30, 3))
    wide = np.kron(coarse, np.ones((8, 8, 1)))
    kernel = np.hanning(9) / np.hanning(9).sum()
    for axis in (0, 1):
        wide = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), axis, wide)

    def scene(t: float) -> NDArray[np.float64]:
        left = 20 + 60 * t
        k, part = int(left), left - int(left)
        view = wide[16 : 16 + SIDE]
        return (1 - part) * view[:, k : k + SIDE] + part * view[:, k + 1 : k + 1 + SIDE]

    source = np.stack([np.rint(scene(k / 15)).astype(np.uint8) for k in range(16)])
    for i, picture in enumerate(make_timeline(source, 0, 31, 31)):
        away_from_edges = np.s_[8:-8, 8:-8]
        error = np.abs(picture[away_from_edges] - scene(i / 30)[away_from_edges]).mean()
        assert error < 4, f"frame {i}"


def test_parts_of_the_timeline_are_the_whole() -> None:
    source = np.stack([_ring(*_circle(k / 15)) for k in range(16)])
    whole = list(make_timeline(source, 0, 40, 40))
    parts = [*make_timeline(source, 0, 17, 40), *make_timeline(source, 17, 40, 40)]
    assert np.array_equal(whole, parts)


def test_still_pictures_stay_as_they_are() -> None:
    source = np.stack([_ring(30, 30)] * 4)
    for picture in make_timeline(source, 0, 9, 9):
        # Enlarged and reduced again: the edges may lose a little.
        assert np.abs(picture.astype(int) - source[0]).max() <= 24
        assert np.abs(picture.astype(int) - source[0]).mean() < 0.5


def test_pictures_without_an_object_have_no_track() -> None:
    noise = np.random.default_rng(1).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    flat = np.full((64, 64, 3), 80, np.float32)
    assert follow(list(noise)) is None
    assert follow([flat, flat]) is None


def test_a_track_passes_through_its_frames_and_is_straight_on_a_straight_way() -> None:
    centre = np.stack([np.arange(5.0), 2 * np.arange(5.0)], axis=1)
    track = Track(centre, np.log(np.full(5, 3.0)))
    for time in (0.0, 0.3, 1.0, 2.75, 4.0):
        where, size = track.at(time)
        assert where == pytest.approx([time, 2 * time])
        assert size == pytest.approx(3.0)
