"""The artifact kind "events": what in a clip can be heard, as bounded JSON.

Places are shares of the picture (0..1 from the left and from the top), times are seconds from the
video's beginning, lengths are in shorter sides of the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.strict_json import read_object

from .base import bad_input

MAX_BYTES = 256 << 10
MAX_EVENTS = 256
MAX_PATHS = 8
MAX_POINTS = 640
MAX_SECONDS = 20.5

Share = Annotated[float, Field(ge=0, le=1)]
Speed = Annotated[float, Field(ge=0, le=100)]


class _Bounded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SoundEvent(_Bounded):
    """Something that is heard at one instant.

    kind: impact (a bounce, a landing, a collision), step (small bounces of something that walks or
        hops along), appear, vanish. strength: 0..1. size: the object's radius.
    """

    time: Annotated[float, Field(ge=0, le=MAX_SECONDS)]
    kind: Literal["impact", "step", "appear", "vanish"]
    strength: Share
    x: Share
    y: Share
    size: Share


class Motion(_Bounded):
    """One object's way: `x` and `speed` at equal steps from the video's first instant to its last.

    speed: in shorter sides a second, of the object or of its outline.
    """

    size: Share
    x: Annotated[tuple[Share, ...], Field(min_length=2, max_length=MAX_POINTS)]
    speed: Annotated[tuple[Speed, ...], Field(min_length=2, max_length=MAX_POINTS)]

    @model_validator(mode="after")
    def _even(self) -> Self:
        if len(self.x) != len(self.speed):
            raise ValueError("x and speed must be of one length")
        return self


class Events(_Bounded):
    """All that is heard in a video of `seconds`: events in the order of their times, and ways."""

    version: Literal[1] = 1
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)]
    events: Annotated[tuple[SoundEvent, ...], Field(max_length=MAX_EVENTS)] = ()
    paths: Annotated[tuple[Motion, ...], Field(max_length=MAX_PATHS)] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        times = [event.time for event in self.events]
        if times != sorted(times) or (times and times[-1] > self.seconds):
            raise ValueError("events must stand in order, within the video")
        return self


def write_events(path: Path, events: Events) -> Path:
    """Writes canonical JSON: the same events give the same bytes."""
    path.write_bytes(canonical(events))
    return path


def read_events(path: Path) -> Events:
    """Reads what `write_events` wrote. Raises StageFailed ("bad_input") for anything else."""
    if path.stat().st_size > MAX_BYTES:
        raise bad_input(f"{path.name} is larger than {MAX_BYTES >> 10} KiB")
    try:
        return Events.model_validate(read_object(path.read_bytes(), MAX_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:60] or "events"
        raise bad_input(f"{path.name} does not list events: {where}: {first['msg']}") from error
    except ValueError as error:
        raise bad_input(f"{path.name} does not list events: {error}") from error
