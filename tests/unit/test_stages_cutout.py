"""One thing on a plain background: found, cut out to the bit, and moved as the clip's thing is."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from reelmesh.node.stages.anchor import shots
from reelmesh.node.stages.course import course_of
from reelmesh.node.stages.cutout import cut_out, turns
from reelmesh.node.stages.frames import Picture, Pictures
from reelmesh.node.stages.scenery import figure_in
from reelmesh.node.stages.track import follow

SIDE = 256


def thing(
    x: float, y: float, size: float = 20, turn: float = 0, side: int = SIDE, sides: int = 3
) -> Picture:
    """A red polygon over dark blue; sizes and places in hundredths of the side."""
    angles = np.deg2rad(turn) + np.arange(sides) * 2 * np.pi / sides
    points = np.stack([x + size * np.cos(angles), y + size * np.sin(angles)], 1) * side / 100
    picture = np.full((side, side, 3), (15, 20, 90), np.uint8)
    cv2.fillPoly(
        picture, [np.rint(points * 16).astype(np.int32)], (230, 40, 30), cv2.LINE_AA, shift=4
    )
    return picture


def clip(of: Callable[[float], Picture]) -> Pictures:
    return np.stack([of(i / 15) for i in range(16)])


def centre(picture: Picture) -> np.ndarray:
    track = follow([picture.astype(np.float32)])
    assert track is not None
    return track.centre[0] * 100 / len(picture)  # type: ignore[no-any-return]


def moved(of: Callable[[float], Picture], start: Picture) -> Pictures:
    assert cut_out(start) is not None
    keys = shown([clip(of)], start, 16)
    assert np.array_equal(keys[0], start)
    return keys


def shown(clips: list[Pictures], start: Picture, total: int, clip_s: float = 2.0) -> Pictures:
    """A video of 8 frames a second."""
    shot, _ = shots(clips, start, total, 8, clip_s)
    return np.stack([shot(i) for i in range(total)])


def test_it_goes_the_clips_way_from_its_own_place() -> None:
    keys = moved(lambda t: thing(60 - 20 * t, 50, side=64), thing(70, 30))
    assert centre(keys[-1]) - centre(keys[0]) == pytest.approx([-20, 0], abs=1.5)


def test_the_way_ends_at_the_edge_and_keeps_its_direction() -> None:
    keys = moved(lambda t: thing(80 - 60 * t, 80 - 60 * t, side=64), thing(40, 60, size=12))
    way = centre(keys[-1]) - centre(keys[0])
    assert way[0] == pytest.approx(way[1], abs=1)
    assert -40 < way[0] < -20


def test_it_grows_but_stays_in_the_picture() -> None:
    keys = moved(lambda t: thing(50, 50, size=10 + 25 * t, side=64), thing(50, 50, size=20))
    red = keys[-1][..., 0] > 120
    assert red.sum() > 2 * (keys[0][..., 0] > 120).sum()
    assert not red[0].any()
    assert not red[:, 0].any()


def test_it_turns_with_the_clip() -> None:
    spun = clip(lambda t: thing(50, 50, turn=300 * t, side=64))
    track = follow([frame.astype(np.float32) for frame in spun])
    assert track is not None
    assert turns(spun, track)[-1] == pytest.approx(300, abs=15)
    keys = moved(lambda t: thing(50, 50, turn=300 * t, side=64), thing(50, 50, turn=10))
    wanted = thing(50, 50, turn=310)
    assert np.abs(keys[-1].astype(int) - wanted).mean() < 4


def test_a_wobble_is_no_turn() -> None:
    still = clip(lambda t: thing(50, 50, turn=6 * np.sin(9 * t), side=64))
    track = follow([frame.astype(np.float32) for frame in still])
    assert track is not None
    assert not turns(still, track).any()


def test_what_was_behind_it_is_background() -> None:
    start = thing(75, 50, size=12)
    keys = moved(lambda t: thing(80 - 60 * t, 50, side=64), start)
    free = keys[-1][118:138, 180:205]
    assert np.abs(free.astype(int) - (15, 20, 90)).max() <= 3


def photograph() -> Picture:
    noise = np.random.default_rng(2).normal(0, 70, (SIDE, SIDE, 3))
    blurred = cv2.GaussianBlur(noise, (0, 0), 6) * 12 + 128
    return np.clip(blurred, 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "picture", [photograph(), np.full((SIDE, SIDE, 3), 80, np.uint8), thing(0, 50)]
)
def test_nothing_is_cut_out_of_other_pictures(picture: Picture) -> None:
    assert cut_out(picture) is None


@pytest.mark.parametrize(("way", "sign"), [(-50, -1), (50, 1)])
def test_another_picture_moves_in_depth_and_shows_no_border(way: int, sign: int) -> None:
    start = photograph()
    clips = [clip(lambda t: thing(50 - way / 2 + way * t, 50, side=64))] * 2
    keys = shown(clips, start, 24)
    assert np.array_equal(keys[0], start)
    shifts = []
    for top in (40, 170):
        patch = start[top : top + 48, 104:152]
        match = cv2.matchTemplate(keys[-1], patch, cv2.TM_SQDIFF)
        shifts.append(sign * (cv2.minMaxLoc(match)[2][0] - 104))
    assert 2 <= shifts[0] < shifts[1] <= 40  # what is lower is nearer, and goes further
    assert np.abs(np.diff(keys[-1][:, :9].astype(int), axis=1)).max() > 0


def test_without_a_path_it_draws_nearer() -> None:
    keys = shown([np.zeros((16, 64, 64, 3), np.uint8)], photograph(), 16)
    steps = np.abs(np.diff(keys.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert steps.min() > 0


def figure() -> Picture:
    """A red egg before a landscape of noise."""
    picture = photograph() // 3 + np.array((20, 90, 120), np.uint8)
    cv2.ellipse(picture, (128, 110), (34, 48), 0, 0, 360, (230, 40, 50), -1, cv2.LINE_AA)
    return picture


def test_a_figure_goes_further_than_what_is_behind_it() -> None:
    start = figure()
    cover = figure_in(start)
    assert cover is not None
    assert cover[110, 128] > 0.99
    assert cover[20, 20] == cover[230, 128] == 0
    keys = shown([clip(lambda t: thing(75 - 50 * t, 50, side=64))] * 2, start, 24)
    assert np.array_equal(keys[0], start)
    places = [np.argwhere((k[..., 0] > 180) & (k[..., 1] < 90)).mean(axis=0)[1] for k in keys]
    patch = start[30:70, 20:60]
    behind = cv2.minMaxLoc(cv2.matchTemplate(keys[-1], patch, cv2.TM_SQDIFF))[2][0] - 20
    assert places[-1] - places[0] < behind - 8


def test_no_figure_is_seen_where_there_is_none() -> None:
    assert figure_in(photograph()) is None


def test_what_comes_back_goes_on_at_its_own_speed() -> None:
    swaying = clip(lambda t: thing(50 - 20 * np.cos(2 * np.pi * t), 50, side=64))
    course = course_of([swaying] * 3, total=80, fps=8, clip_s=2.5)
    assert course is not None
    xs = course.away[:, 0] - course.away[:, 0].mean()
    turns_back = int((np.diff(np.sign(xs)) != 0).sum())
    assert turns_back in (7, 8)  # four cycles of 2.5 s in 10 s
    assert np.abs(np.diff(xs)).max() < 2.2 * np.abs(np.diff(xs[:20])).max()


def test_what_goes_one_way_takes_the_whole_video() -> None:
    going = clip(lambda t: thing(80 - 60 * t, 50, side=64))
    course = course_of([going] * 3, total=80, fps=8, clip_s=2.5)
    assert course is not None
    steps = np.diff(course.away[:, 0])
    assert (steps < 0).all()
    assert course.away[-1, 0] == pytest.approx(-0.6, abs=0.04)
    assert steps.min() > 2 * steps.mean()
