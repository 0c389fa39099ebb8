"""Camera paths: what is a path, how it goes, and that it stays within what can be shown."""

from __future__ import annotations

import contextlib
import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.scheduler.camera import (
    MAX_YAW,
    PIVOT,
    CameraPath,
    InvalidCamera,
    check_pose,
    orbit,
    parse_camera,
    parse_orbit,
)

STILL = {"time": 0, "position": [0, 0, 0]}


def path(*keyframes: dict[str, Any]) -> bytes:
    return json.dumps({"version": 1, "keyframes": list(keyframes)}).encode()


def test_an_orbit_keeps_its_distance_and_ends_where_it_was_asked_to() -> None:
    made = parse_orbit("-15:30", 4.0)
    for number in range(41):
        pose = made.at(number / 10)
        assert math.dist(pose[:3], PIVOT) == pytest.approx(1, abs=0.002)
        assert pose[3:6] == PIVOT
    yaws = [math.degrees(math.atan2(made.at(t).x, 1 - made.at(t).z)) for t in (0, 4)]
    assert yaws == pytest.approx([-15, 30], abs=1e-3)


def test_it_goes_smoothly_and_never_beyond_its_keyframes() -> None:
    made = parse_camera(
        path(STILL, {"time": 1, "position": [0.2, 0, 0]}, {"time": 3, "position": [0.2, 0.1, 0]})
    )
    xs = [made.at(i / 100).x for i in range(301)]
    assert all(0 <= x <= 0.2 for x in xs)
    assert all(b >= a for a, b in pairwise(xs))
    steps = [b - a for a, b in pairwise(xs)]
    assert max(abs(b - a) for a, b in pairwise(steps)) < 2e-4  # no sudden turn
    assert made.at(-1) == made.at(0)
    assert made.at(99) == made.at(3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (path({"time": 0, "position": [0.9, 0, 0.6]}), "66.0° to the side"),
        (path({"time": 0, "position": [0, 0.5, 0]}), "26.6° up"),
        (path({"time": 0, "position": [0, 0, 0.8]}), "0.20 from the scene's middle"),
        (path({"time": 0, "position": [0, 0, -2]}), "3.00 from"),
        (path({**STILL, "look_at": [1, 0, 1]}), "looks 1.00 beside"),
        (path(STILL, STILL), "times must rise"),
        (path({**STILL, "fov": 170}), "fov"),
        (path({**STILL, "roll": 1}), "roll"),
        (path({"time": "0", "position": [0, 0, 0]}), "a number is wanted"),
        (path(), "keyframes"),
        (b'{"keyframes": [], "keyframes": []}', "twice"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"version": 1, "keyframes": [{"time": NaN, "position": [0,0,0]}]}', "NaN"),
        (b" " * 9000, "longer"),
    ],
)
def test_what_is_no_path_says_why_in_one_line(text: bytes, why: str) -> None:
    with pytest.raises(InvalidCamera) as caught:
        parse_camera(text)
    assert why in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_path_that_leaves_the_range_between_its_keyframes_is_refused() -> None:
    ends = [orbit(angle, angle, 1.0).at(0) for angle in (-29.0, 29.0)]
    across = [{"time": 2 * i, "position": list(end[:3])} for i, end in enumerate(ends)]
    assert parse_camera(path(across[0]))
    nearer = [{**key, "position": [0.6 * key["position"][0], 0, 0.45]} for key in across]
    with pytest.raises(InvalidCamera, match=r"at 0\.[0-9]+ s the camera is 0\.6"):
        parse_camera(path(*nearer))


@pytest.mark.parametrize("text", ["", "15", "a:b", "-31:0", "0:30.5", "nan:1", "1:2:3", "inf:0"])
def test_what_is_no_orbit_is_refused(text: str) -> None:
    with pytest.raises(InvalidCamera):
        parse_orbit(text, 4.0)


_numbers = st.floats(-3, 3, allow_nan=False)
_keyframes = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.floats(-1, 21),
            "position": st.tuples(st.floats(-0.5, 0.5), st.floats(-0.2, 0.2), st.floats(-0.3, 0.3)),
        },
        optional={"look_at": st.tuples(_numbers, _numbers, _numbers), "fov": st.floats(0, 90)},
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(_keyframes, st.floats(-5, 30))
def test_any_keyframes_are_a_path_within_the_range_or_refused(keys: Any, time: float) -> None:
    text = json.dumps({"keyframes": sorted(keys, key=lambda key: key["time"])})
    try:
        made = parse_camera(text)
    except InvalidCamera:
        return
    check_pose(made.at(time), time)
    assert CameraPath.model_validate_json(made.model_dump_json()) == made


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200))
def test_any_bytes_are_read_or_refused_plainly(text: bytes | str) -> None:
    with contextlib.suppress(InvalidCamera):
        parse_camera(text)


@settings(max_examples=60, deadline=None)
@given(st.floats(-MAX_YAW, MAX_YAW), st.floats(-MAX_YAW, MAX_YAW), st.floats(1, 20))
def test_every_orbit_within_the_range_is_a_path(first: float, last: float, seconds: float) -> None:
    made = orbit(first, last, seconds)
    assert len(made.keyframes) <= 13
