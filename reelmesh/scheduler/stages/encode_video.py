"""encode_video: a run of full-size frames → an H.264 segment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.upscale import MAX_CHUNK


class EncodeVideoParams(StageParams):
    """All frames of the input at `fps`, x264 at constant rate factor `crf` (lower is better)."""

    fps: Annotated[int, Field(ge=1, le=60)]
    crf: Annotated[int, Field(ge=0, le=51)]
    frames: Annotated[int, Field(ge=1, le=MAX_CHUNK)]
    width: Annotated[int, Field(ge=64, le=1024, multiple_of=2)]
    height: Annotated[int, Field(ge=64, le=1024, multiple_of=2)]


def _pixels(params: EncodeVideoParams) -> int:
    return params.frames * params.width * params.height


ENTRY = StageEntry(
    name="encode_video",
    version=1,
    summary="compress a run of frames (H.264)",
    inputs={"frames": "frames"},
    outputs={"segment": "segment"},
    params=EncodeVideoParams,
    unit="megapixel",
    units=lambda params: _pixels(params) / 1e6,
    memory_mb=lambda params: 500 + _pixels(params) * 5 // 2**20,
    # Two bits a pixel is far more than smooth frames need, and far less than noise does.
    bytes_out=lambda params: _pixels(params) // 4 + 4096,
)
