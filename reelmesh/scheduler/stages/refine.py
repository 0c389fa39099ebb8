"""refine: a run of small frames → larger ones, sharp and in the video's shape."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.sizes import REACH, SCALE
from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES

MAX_RUN = 256
"""20 s of key frames at 12 a second; `interpolate` takes as many."""

_Side = Annotated[int, Field(ge=16, le=1024)]


class RefineParams(StageParams):
    """Frames [start, stop) of the input, which are from_width x from_height, as width x height."""

    start: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    stop: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    from_width: Annotated[int, Field(ge=2, le=1024)]
    from_height: Annotated[int, Field(ge=2, le=1024)]
    width: _Side
    height: _Side

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.start + MAX_RUN:
            raise ValueError(f"start < stop <= start + {MAX_RUN} must hold")
        return self


def _made(params: RefineParams) -> int:
    """Pixels that the network makes for a frame, and around it."""
    return SCALE**2 * (params.from_width + 2 * REACH) * (params.from_height + 2 * REACH)


def _out(params: RefineParams) -> int:
    return params.width * params.height


def _memory_mb(params: RefineParams) -> int:
    # About four maps of 64 channels, fp32, of what goes into the network, and what comes out of it.
    network = _made(params) * (4 * 64 * 4 // SCALE**2 + 4 * 3 * 5)
    pictures = (params.stop - params.start + 16) * _out(params) * 3
    return 700 + (network + pictures) // 2**20


ENTRY = StageEntry(
    name="refine",
    version=1,
    summary="draw small frames larger, sharp and in the video's shape (Real-ESRGAN)",
    inputs={"frames": "frames"},
    outputs={"frames": "frames"},
    params=RefineParams,
    unit="megapixel",
    units=lambda params: (params.stop - params.start) * _made(params) / 1e6,
    memory_mb=_memory_mb,
    bytes_out=lambda params: (params.stop - params.start) * _out(params) * 3 // 4,
    model="realesrgan-animevideov3",
    load_s=0.5,
)
