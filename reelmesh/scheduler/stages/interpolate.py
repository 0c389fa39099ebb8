"""interpolate: few frames → the video's whole timeline, motion-compensated, at the same size."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from reelmesh.scheduler.stages.decode import SKELETON_SIZE
from reelmesh.scheduler.stages.entry import StageEntry, StageParams

MAX_FRAMES = 1200
"""20 s at 60 frames a second."""


class InterpolateParams(StageParams):
    """Frames [start, stop) of a timeline of `total` frames that spans all source frames.

    side: the longer side of the source frames, in pixels; left out where it is the model's, as in
    plans from before there were others.
    """

    start: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    stop: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    total: Annotated[int, Field(ge=2, le=MAX_FRAMES)]

    side: Annotated[int, Field(ge=16, le=1024)] = SKELETON_SIZE

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if self.side == SKELETON_SIZE:
            fields.pop("side", None)
        return fields

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.total:
            raise ValueError("start < stop <= total must hold")
        return self


WORK_SIDE = 256
"""Smaller pictures are enlarged to about this side to follow motion; larger ones cost more."""


def _frames(params: InterpolateParams) -> int:
    return params.stop - params.start


def _units(params: InterpolateParams) -> float:
    return _frames(params) * max(1.0, params.side**2 / WORK_SIDE**2)


def _memory_mb(params: InterpolateParams) -> int:
    usual = 600 + _frames(params) // 8
    # Of large pictures: the key frames, and about thirty planes of colour in fp32 for one frame.
    return usual if params.side <= WORK_SIDE else usual + 50 * params.side**2 * 12 // 2**20


ENTRY = StageEntry(
    name="interpolate",
    version=1,
    summary="make the frames between the frames, following motion",
    inputs={"frames": "frames"},
    outputs={"frames": "frames"},
    params=InterpolateParams,
    unit="frame",
    units=_units,
    memory_mb=_memory_mb,
    bytes_out=lambda params: _frames(params) * params.side * params.side * 3 // 2,
)
