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
    bytes_out=lambda params: _frames(params) * params.side * params.side * 3 // 2,
)
