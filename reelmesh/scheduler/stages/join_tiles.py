"""join_tiles: the tiles of a run of frames → an H.264 segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.sizes import Side
from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.upscale import MAX_CHUNK
from reelmesh.scheduler.stages.upscale_tile import MAX_TILES


class JoinTilesParams(StageParams):
    """Tiles tile-0, tile-1, …, row by row, of `frames` frames; x264 at `fps` and `crf`."""

    fps: Annotated[int, Field(ge=1, le=60)]
    crf: Annotated[int, Field(ge=0, le=51)]
    frames: Annotated[int, Field(ge=1, le=MAX_CHUNK)]
    width: Side
    height: Side
    columns: Annotated[int, Field(ge=1, le=MAX_TILES)]
    rows: Annotated[int, Field(ge=1, le=MAX_TILES)]

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.columns * self.rows > MAX_TILES:
            raise ValueError(f"columns x rows <= {MAX_TILES} must hold")
        return self


def _inputs(params: JoinTilesParams) -> Mapping[str, str]:
    return {f"tile-{i}": "tile" for i in range(params.columns * params.rows)}


def _pixels(params: JoinTilesParams) -> int:
    return params.width * params.height


ENTRY = StageEntry(
    name="join_tiles",
    version=1,
    summary="put tiles together and compress the frames (H.264)",
    inputs={"tile-*": "tile"},
    inputs_of=_inputs,
    outputs={"segment": "segment"},
    params=JoinTilesParams,
    unit="megapixel",
    units=lambda params: params.frames * _pixels(params) / 1e6,
    # x264 holds the frames that it looks ahead at, and some more.
    memory_mb=lambda params: 600 + min(params.frames + 12, 60) * _pixels(params) * 3 // 2**20,
    bytes_out=lambda params: params.frames * _pixels(params) // 8 + 4096,
)
