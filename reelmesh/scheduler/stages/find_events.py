"""find_events: a clip's frames → what in it makes a sound, when, where and how strongly."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES


class FindEventsParams(StageParams):
    """The input's frames span a video of `total` frames at `fps`, from the first to the last.

    frames: how many come in; it only says how much work it is.
    """

    fps: Annotated[int, Field(ge=1, le=60)]
    frames: Annotated[int, Field(ge=2, le=MAX_FRAMES)]
    total: Annotated[int, Field(ge=2, le=MAX_FRAMES)]


ENTRY = StageEntry(
    name="find_events",
    version=1,
    summary="find bounces, steps and moves, for the sound",
    inputs={"frames": "frames"},
    outputs={"events": "events"},
    params=FindEventsParams,
    unit="frame",
    units=lambda params: float(params.frames),
    memory_mb=lambda params: 600 + params.frames // 8,
    bytes_out=lambda params: 8192 + 300 * params.total // params.fps,
)
