"""interpolate: few frames → the video's whole timeline, motion-compensated, at the same size."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.stages.decode import SKELETON_SIZE
from reelmesh.scheduler.stages.encode_image import PICTURE_SIZE
from reelmesh.scheduler.stages.entry import StageEntry, StageParams

MAX_FRAMES = 1200
"""20 s at 60 frames a second."""


class InterpolateParams(StageParams):
    """Frames [start, stop) of a timeline of `total` frames that spans all source frames."""

    start: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    stop: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    total: Annotated[int, Field(ge=2, le=MAX_FRAMES)]

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.total:
            raise ValueError("start < stop <= total must hold")
        return self


def _frames(params: InterpolateParams) -> int:
    return params.stop - params.start


ENTRY = StageEntry(
    name="interpolate",
    version=1,
    summary="make the frames between the frames, following motion",
    inputs={"frames": "frames"},
    outputs={"frames": "frames"},
    params=InterpolateParams,
    unit="frame",
    units=lambda params: float(_frames(params)),
    memory_mb=lambda params: 600 + _frames(params) // 8,
    bytes_out=lambda params: _frames(params) * SKELETON_SIZE * SKELETON_SIZE * 3 // 2,
    # A photograph's key frames are larger than the model's.
    bytes_most=lambda params: _frames(params) * PICTURE_SIZE * PICTURE_SIZE * 3,
)
