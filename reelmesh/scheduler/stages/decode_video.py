"""decode_video: a stretch of the buyer's footage → upright SDR frames at one size and rate."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES

MAX_PIXELS = 4096 * 2304
"""Of one frame, coming in or going out."""
MAX_FOOTAGE_S = 4 * 3600
"""The longest video that a stretch is taken from."""
_MAX_TOTAL = 1200 * 1024 * 1024

Side = Annotated[int, Field(ge=16, le=4096)]


class DecodeVideoParams(StageParams):
    """Frame i shows what is on the screen at `start` + (i + 1/2) / `fps` seconds.

    frames: how many, exactly; at most half a second at the end may repeat the last picture.
    fit: "cover" fills width x height and cuts what is over at two sides; "contain" shows the
    whole picture, with black bars where the shapes differ.
    """

    start: Annotated[float, Field(ge=0, le=MAX_FOOTAGE_S)]
    frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    fps: Annotated[int, Field(ge=1, le=60)]
    width: Side
    height: Side
    fit: Literal["cover", "contain"] = "cover"

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(f"frames of {self.width}x{self.height} are too large")
        if _pixels(self) > _MAX_TOTAL:
            raise ValueError("the frames are too many for their size")
        return self


def _pixels(params: DecodeVideoParams) -> int:
    return params.frames * params.width * params.height


ENTRY = StageEntry(
    name="decode_video",
    version=1,
    summary="decode a stretch of the buyer's video, upright and at one size and rate",
    inputs={"video": "footage"},
    outputs={"frames": "frames"},
    params=DecodeVideoParams,
    unit="frame",
    units=lambda params: float(params.frames),
    # A 4K decoder keeps up to 17 pictures; a picture is turned into RGB in 32 bits a sample.
    memory_mb=lambda params: 1500 + params.width * params.height * 64 // 2**20,
    # Lossless coding saves little on a camera's noise.
    bytes_out=lambda params: _pixels(params) * 3 // 2,
)
