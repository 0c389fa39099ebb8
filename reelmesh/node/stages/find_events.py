"""find_events: a clip → what in it makes a sound, when, where and how strongly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .base import ModelFree, StageContext, bad_input
from .contacts import Contact, along, contacts
from .encode_image import SIZE
from .events import MAX_EVENTS, MAX_SECONDS, Events, Motion, SoundEvent, write_events
from .frames import Pictures, read_frames
from .media import MediaLimits
from .objects import Seen, follow_all

Points = NDArray[np.float64]

_POINTS_A_SECOND = 30
_LOOKS_A_SECOND = 16.0  # faster clips are thinned: between their frames noise outweighs motion
_FULL_CHANGE = 1.6  # of velocity, in shorter sides a second: a hit of strength 0.7
_TOGETHER_S = 0.09  # two objects' contacts within it are one hit
_NEAR = 0.12  # shorter sides between the outlines of two that hit each other
_LAST_S = 0.06  # so shortly before the end nothing could be heard any more


class FindEvents(ModelFree):
    """Input `frames`, output `events`: see `events.Events`."""

    name = "find_events"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Finds events. Raises StageFailed ("bad_input"), StageCancelled."""
        frames = read_frames(inputs["frames"], MediaLimits(params.frames, side=SIZE))
        if len(frames) != params.frames:
            raise bad_input(f"there are {len(frames)} pictures, not {params.frames}")
        ctx.progress(0.2, "looking for what can be heard")
        seconds = params.total / params.fps
        if seconds > MAX_SECONDS:
            raise bad_input(f"a video of {seconds:.1f} s is too long for sound")
        found = events_of(frames, seconds, (params.total - 1) / params.fps)
        path = write_events(ctx.workdir / "events.json", found)
        ctx.step(path.read_bytes())
        ctx.progress(1.0)
        return {"events": path}


@dataclass(frozen=True)
class _Clock:
    """From the clip's frames to the video's seconds. span: from the first frame to the last."""

    frames: int
    span: float

    @property
    def rate(self) -> float:
        return (self.frames - 1) / self.span

    def second(self, frame: float) -> float:
        return frame / self.rate


def events_of(frames: Pictures, seconds: float, span: float) -> Events:
    """Events in uint8 [T >= 2, H, W, 3] frames that are spread evenly over `span` seconds.

    Args:
        seconds: how long the video is; a frame's time longer than `span`.
    """
    clock = _Clock(len(frames), span)
    shape = np.array([frames.shape[2], frames.shape[1]], float) / min(frames.shape[1:3])
    objects = follow_all(frames)
    found: list[SoundEvent] = []
    for thing in objects:
        found += _comings(thing, clock, shape)
        found += _hits(thing, clock, shape)
    found = [event for event in _merged(found) if event.time <= seconds - _LAST_S]
    paths = tuple(_motion(thing, clock, shape) for thing in objects if thing.there.sum() >= 2)
    return Events(seconds=round(seconds, 6), events=tuple(found[:MAX_EVENTS]), paths=paths)


def _hits(thing: Seen, clock: _Clock, shape: Points) -> Iterable[SoundEvent]:
    for first, stop in _runs(thing.there):
        thin = max(1, round(clock.rate / _LOOKS_A_SECOND))
        path = thing.centre[first:stop:thin]
        hits = contacts(path)
        kind = _kind(hits, path, float(np.nanmedian(thing.radius)))
        for hit in hits:
            frame = first + thin * hit.frame
            change = float(np.linalg.norm(hit.change)) * clock.rate / thin
            yield _event(thing, clock, shape, frame, kind, change)


def _event(
    thing: Seen,
    clock: _Clock,
    shape: Points,
    frame: float,
    kind: Literal["impact", "step", "appear", "vanish"],
    change: float,
) -> SoundEvent:
    seen = np.flatnonzero(thing.there)
    near = int(seen[np.abs(seen - frame).argmin()])
    place = np.clip(thing.centre[near] / shape, 0, 1)
    return SoundEvent(
        time=round(max(0.0, clock.second(frame)), 4),
        kind=kind,
        strength=round(1 - float(np.exp(-1.2 * change / _FULL_CHANGE)), 4),
        x=round(float(place[0]), 4),
        y=round(float(place[1]), 4),
        size=round(min(1.0, float(thing.radius[near])), 4),
    )


def _kind(hits: list[Contact], path: Points, radius: float) -> Literal["impact", "step"]:
    """Steps: small bounces on the way of something that goes along."""
    ground = [hit for hit in hits if hit.change[1] < -0.8 * float(np.linalg.norm(hit.change))]
    if len(ground) < 3:
        return "impact"
    places = [path[round(hit.frame)] for hit in ground]
    ways = [abs(float(b[0] - a[0])) for a, b in pairwise(places)]
    height = float(np.ptp(path[:, 1]))
    return "step" if height < 1.2 * radius and np.median(ways) > 0.3 * height else "impact"


def _comings(thing: Seen, clock: _Clock, shape: Points) -> Iterable[SoundEvent]:
    """Where a thing comes out of nothing or goes into it, away from the picture's border."""
    runs = _runs(thing.there)
    for first, stop in runs:
        if first > 0 and not thing.at_edge[first] and first == runs[0][0]:
            yield _event(thing, clock, shape, first - 0.5, "appear", _FULL_CHANGE)
        if stop < clock.frames and not thing.at_edge[stop - 1] and stop == runs[-1][1]:
            yield _event(thing, clock, shape, stop - 0.5, "vanish", _FULL_CHANGE)


def _runs(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and past-the-last frame of each stretch in which a thing is seen."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(steps[0::2], steps[1::2], strict=True)]


def _merged(found: list[SoundEvent]) -> list[SoundEvent]:
    """In order; what two objects do to each other at one time is one event."""
    kept: list[SoundEvent] = []
    for event in sorted(found, key=lambda e: (e.time, e.x, e.y)):
        last = kept[-1] if kept else None
        if last is None or event.kind != last.kind or not _same_hit(last, event):
            kept.append(event)
        elif event.strength > last.strength:
            kept[-1] = event.model_copy(update={"time": last.time})
    return kept


def _same_hit(a: SoundEvent, b: SoundEvent) -> bool:
    apart = float(np.hypot(a.x - b.x, a.y - b.y)) - a.size - b.size
    return b.time - a.time < _TOGETHER_S and apart < _NEAR


def _motion(thing: Seen, clock: _Clock, shape: Points) -> Motion:
    count = max(2, round(clock.span * _POINTS_A_SECOND) + 1)
    at = np.linspace(0, clock.frames - 1, count)
    known = np.flatnonzero(thing.there)
    every = np.arange(clock.frames)
    columns = [thing.centre[:, 0], thing.centre[:, 1], thing.radius]
    x, y, r = (along(np.interp(every, known, c[known]), at) for c in columns)
    step = clock.span / (count - 1)
    speed = np.hypot(np.gradient(x), np.gradient(y)) + np.abs(np.gradient(r))
    seen = np.interp(at, every, thing.there.astype(float))
    return Motion(
        size=round(min(1.0, float(np.nanmedian(thing.radius))), 4),
        x=tuple(round(float(v), 4) for v in np.clip(x / shape[0], 0, 1)),
        speed=tuple(round(float(v), 3) for v in np.clip(speed * seen / step, 0, 100)),
    )
