"""carry_on: the last frames of a video → what comes after them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.upscale import MAX_CHUNK

SEEN_FRAMES = 9
"""How many frames show how things moved."""


class CarryOnParams(StageParams):
    """`frames` new frames after the `seen` of the input, at `fps`, width x height pixels."""

    fps: Annotated[int, Field(ge=1, le=60)]
    seen: Annotated[int, Field(ge=3, le=SEEN_FRAMES)]
    frames: Annotated[int, Field(ge=1, le=MAX_CHUNK)]
    width: Annotated[int, Field(ge=64, le=1024, multiple_of=64)]
    height: Annotated[int, Field(ge=64, le=1024, multiple_of=64)]


def _pixels(params: CarryOnParams) -> int:
    return params.frames * params.width * params.height


ENTRY = StageEntry(
    name="carry_on",
    version=1,
    summary="go on from a video's last frame, as things moved",
    inputs={"frames": "frames"},
    outputs={"frames": "frames"},
    params=CarryOnParams,
    unit="megapixel",
    units=lambda params: _pixels(params) / 1e6,
    memory_mb=lambda params: 600 + params.width * params.height * 200 // 2**20,
    bytes_out=lambda params: _pixels(params) * 3 // 2,
)
