"""upscale: a run of small frames → the same frames at the video's size."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES

MAX_CHUNK = 240
"""Frames of one subtask; at 1024x1024 its raw frames are 0.75 GB."""


SPARSE = 0.4
"""What enlarging sparsely costs, of enlarging all: the mean over held-out captions of one thing on
a plain ground, a little rounded up. docs/quality/depth.md says how it was measured."""


class UpscaleParams(StageParams):
    """Frames [start, stop) of the input, upscaled to width x height pixels.

    sparse: what is plain does not go through the network. Left out where all does.
    """

    start: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    stop: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    width: Annotated[int, Field(ge=64, le=1024, multiple_of=64)]
    height: Annotated[int, Field(ge=64, le=1024, multiple_of=64)]
    sparse: bool = False

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if not self.sparse:
            fields.pop("sparse", None)
        return fields

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.start + MAX_CHUNK:
            raise ValueError(f"start < stop <= start + {MAX_CHUNK} must hold")
        return self


def _pixels(params: UpscaleParams) -> int:
    return (params.stop - params.start) * params.width * params.height


def _units(params: UpscaleParams) -> float:
    return _pixels(params) / 1e6 * (SPARSE if params.sparse else 1)


def _memory_mb(params: UpscaleParams) -> int:
    # The network holds about four maps of 64 channels, fp32, at half the output's size.
    maps = 4 * 64 * 4 * params.width * params.height // 4
    return 650 + (maps + _pixels(params) * 3) // 2**20


ENTRY = StageEntry(
    name="upscale",
    version=1,
    summary="enlarge a run of frames (Real-ESRGAN)",
    inputs={"frames": "frames"},
    outputs={"frames": "frames"},
    params=UpscaleParams,
    unit="megapixel",
    units=_units,
    memory_mb=_memory_mb,
    # Lossless coding leaves about a quarter of smooth enlarged frames.
    bytes_out=lambda params: _pixels(params) * 3 // 4,
    model="realesrgan-animevideov3",
    load_s=0.5,
)
