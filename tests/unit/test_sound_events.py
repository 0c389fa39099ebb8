"""Known ways of known things → known times; nothing is heard where nothing happens."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelmesh.node.stages import StageFailed
from reelmesh.node.stages.contacts import along, contacts
from reelmesh.node.stages.events import (
    MAX_BYTES,
    Events,
    Motion,
    SoundEvent,
    read_events,
    write_events,
)
from reelmesh.node.stages.find_events import events_of

SIDE, KEYS, FPS, TOTAL = 64, 16, 24, 96
SPAN = (TOTAL - 1) / FPS
FRAME_S = 1 / FPS

Place = Callable[[float], tuple[float, float]]  # share of the clip's time → x, y in 0..1


def disc(
    canvas: NDArray[np.float64], x: float, y: float, radius: float, colour: tuple[int, int, int]
) -> None:
    ys, xs = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE
    cover = np.clip((radius - np.hypot(xs - x, ys - y)) * SIDE + 0.5, 0, 1)[..., None]
    canvas[:] = cover * np.array(colour) + (1 - cover) * canvas


def clip(*places: Place, keys: int = KEYS, noise: float = 0.0) -> NDArray[np.uint8]:
    colours = [(230, 40, 40), (240, 220, 40), (40, 200, 90)]
    frames = np.full((keys, SIDE, SIDE, 3), (20, 25, 90), float)
    frames += np.random.default_rng(1).normal(0, noise, frames.shape)
    for t, frame in zip(np.linspace(0, 1, keys), frames, strict=True):
        for place, colour in zip(places, colours, strict=False):
            disc(frame, *place(float(t)), 0.12, colour)
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def found(frames: NDArray[np.uint8], kinds: str = "impact step appear vanish") -> list[float]:
    events = events_of(frames, TOTAL / FPS, SPAN).events
    return [event.time / SPAN for event in events if event.kind in kinds.split()]


def bouncing(rate: float, phase: float) -> Place:
    """Falls to 0.75 at each share of time where rate x t + phase is whole."""
    return lambda t: (0.5, 0.75 - 0.45 * abs(math.sin(math.pi * (rate * t + phase))))


@pytest.mark.parametrize("rate", [1.0, 2.0])
@pytest.mark.parametrize("phase", [0.3, 0.5, 0.62, 0.8])
def test_bounces_are_found_when_they_are_seen(rate: float, phase: float) -> None:
    wanted = [(n - phase) / rate for n in range(1, 4)]
    wanted = [t for t in wanted if 1.2 / 15 < t < 1 - 1.2 / 15]
    times = found(clip(bouncing(rate, phase)))
    assert len(times) >= len(wanted)
    for time in wanted:
        # A key frame is 0.26 s apart from the next: between two, the seen turning is meant.
        assert min(abs(time - t) for t in times) * SPAN <= 2 * FRAME_S


def test_walls_on_both_sides_are_hit() -> None:
    def between(t: float) -> tuple[float, float]:
        way = (1.4 * t + 0.1) % 2
        return 0.2 + 0.6 * (way if way < 1 else 2 - way), 0.5

    assert found(clip(between)) == pytest.approx([0.9 / 1.4], abs=0.02)


def test_two_that_collide_make_one_sound() -> None:
    def left(t: float) -> tuple[float, float]:
        return 0.36 - 0.5 * abs(t - 0.4), 0.5

    def right(t: float) -> tuple[float, float]:
        return 0.64 + 0.5 * abs(t - 0.4), 0.5

    assert found(clip(left, right)) == pytest.approx([0.4], abs=0.02)


def test_what_lands_and_stays_thuds() -> None:
    events = events_of(clip(lambda t: (0.5, min(0.8, 0.2 + 1.2 * t))), TOTAL / FPS, SPAN).events
    assert [event.kind for event in events] == ["impact"]
    assert events[0].time / SPAN == pytest.approx(0.5, abs=0.04)


def test_small_hops_along_the_ground_are_steps() -> None:
    def hop(t: float) -> tuple[float, float]:
        return 0.15 + 0.7 * t, 0.7 - 0.09 * abs(math.sin(math.pi * 4 * t))

    events = events_of(clip(hop, keys=49), TOTAL / FPS, SPAN).events
    assert [event.kind for event in events] == ["step"] * 3
    assert [event.time / SPAN for event in events] == pytest.approx([0.25, 0.5, 0.75], abs=0.02)


@pytest.mark.parametrize(
    "place",
    [
        lambda t: (0.5, 0.5),
        lambda t: (0.2 + 0.6 * t, 0.5),
        lambda t: (0.5 - 0.25 * math.cos(2 * math.pi * t), 0.5),
        lambda t: (0.5 - 0.25 * math.cos(4 * math.pi * t), 0.5),
        lambda t: (0.5 + 0.22 * math.cos(6.28 * t), 0.5 + 0.22 * math.sin(6.28 * t)),
        lambda t: (0.5, 0.2 + 0.6 * t * t),
    ],
    ids=["still", "glides", "sways", "sways-fast", "circles", "falls"],
)
@pytest.mark.parametrize("noise", [0.0, 6.0])
def test_free_motion_makes_no_sound_at_an_instant(place: Place, noise: float) -> None:
    assert found(clip(place, noise=noise)) == []


def test_a_still_clip_has_a_way_without_speed() -> None:
    still = events_of(clip(lambda t: (0.5, 0.5)), TOTAL / FPS, SPAN)
    assert still.events == ()
    assert max(still.paths[0].speed) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_nothing_are_no_objects(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (KEYS, SIDE, SIDE, 3), dtype=np.uint8)
    assert found(noise) == []
    assert events_of(np.zeros((2, 16, 24, 3), np.uint8), 1.0, 0.9).paths == ()


def test_what_comes_out_of_nothing_is_heard() -> None:
    frames = clip(lambda t: (0.5, 0.5))
    frames[:6] = frames[0, 0, 0]
    events = events_of(frames, TOTAL / FPS, SPAN).events
    assert [event.kind for event in events] == ["appear"]
    assert events[0].time / SPAN == pytest.approx(5.5 / 15, abs=0.01)


@pytest.mark.parametrize("first", range(4, 8))
def test_what_comes_and_goes_has_a_place_whatever_its_frame(first: int) -> None:
    frames = clip(lambda t: (0.5, 0.5))
    frames[:first] = frames[first + 6 :] = frames[0, 0, 0]
    events = events_of(frames, TOTAL / FPS, SPAN).events
    assert [event.kind for event in events] == ["appear", "vanish"]
    assert all((event.x, event.y) == pytest.approx((0.5, 0.5), abs=0.05) for event in events)


def test_a_crowd_is_followed_as_far_as_its_largest() -> None:
    frames = np.zeros((KEYS, SIDE, SIDE, 3), np.uint8)
    for number in range(6):
        frames[:, 10 + number % 2 * 30 :, 6 + number // 2 * 20 :][:, :10, :10] = 255
    assert len(events_of(frames, TOTAL / FPS, SPAN).paths) == 4


def test_a_contact_has_its_place_and_strength() -> None:
    (event,) = events_of(clip(bouncing(1.0, 0.5)), TOTAL / FPS, SPAN).events
    assert (event.x, event.y) == pytest.approx((0.5, 0.75), abs=0.05)
    slow = events_of(clip(bouncing(1.0, 0.5)), 4 * TOTAL / FPS, 4 * SPAN).events
    assert 0 < slow[0].strength < event.strength < 1


def test_three_places_are_too_few_for_a_contact() -> None:
    assert contacts(np.zeros((3, 2))) == []


def test_the_curve_goes_through_every_place() -> None:
    values = np.array([0.0, 3.0, 1.0, 2.0])
    assert along(values, np.arange(4.0)) == pytest.approx(values)


def test_events_survive_their_file(tmp_path: Path) -> None:
    events = events_of(clip(bouncing(1.5, 0.3)), TOTAL / FPS, SPAN)
    path = write_events(tmp_path / "events.json", events)
    assert read_events(path) == events
    assert path.stat().st_size < MAX_BYTES


GOOD = Events(
    seconds=4.0,
    events=(SoundEvent(time=1.0, kind="impact", strength=0.5, x=0.5, y=0.5, size=0.2),),
    paths=(Motion(size=0.2, x=(0.1, 0.2), speed=(1.0, 2.0)),),
).model_dump(mode="json")

numbers = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.just("1"), st.booleans())
fields = st.sampled_from(["time", "strength", "x", "y", "size", "kind", "more"])


def told(path: Path, data: bytes) -> Events | None:
    path.write_bytes(data)
    try:
        return read_events(path)
    except StageFailed as error:
        refused = error
    assert refused.reason == "bad_input"
    assert "\n" not in refused.message
    return None


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_bytes_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    told(tmp_path_factory.getbasetemp() / "any.json", data)


@settings(max_examples=80, deadline=None)
@given(fields, numbers, st.integers(0, 400))
def test_hostile_values_never_get_out_of_bounds(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: object, copies: int
) -> None:
    event = {**GOOD["events"][0], field: value}
    data = json.dumps({**GOOD, "events": [event] * copies}).encode()
    events = told(tmp_path_factory.getbasetemp() / "hostile.json", data)
    for one in events.events if events else ():
        assert 0 <= one.time <= events.seconds
        assert all(0 <= number <= 1 for number in (one.x, one.y, one.strength, one.size))


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 0},
        {"seconds": 1e9},
        {"version": 2},
        {"events": [{**GOOD["events"][0], "time": 5.0}]},
        {"events": [{**GOOD["events"][0], "time": t} for t in (2.0, 1.0)]},
        {"paths": [{"size": 0.1, "x": [0.1, 0.2], "speed": [1.0]}]},
        {"paths": GOOD["paths"] * 9},
        {"paths": [{"size": 0.1, "x": [0.1] * 700, "speed": [0.1] * 700}]},
    ],
)
def test_events_out_of_bounds_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    assert told(tmp_path / "e.json", json.dumps({**GOOD, **change}).encode()) is None
    assert told(tmp_path / "e.json", json.dumps(GOOD).encode() + b" " * MAX_BYTES) is None
