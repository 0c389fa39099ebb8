"""upscale_tile: a run of small frames → one tile of the same frames at the video's size."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.sizes import REACH, SCALE, Side, tile_box
from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES
from reelmesh.scheduler.stages.upscale import MAX_CHUNK

MAX_TILES = 16


class UpscaleTileParams(StageParams):
    """Frames [start, stop) of the input, enlarged to width x height; of those one tile is made.

    The input has `sizes.quarter` of that size. Tiles are counted row by row in `columns` x `rows`.
    sparse: whatever is flat, or as it was in the frame before, is not computed again.
    """

    start: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    stop: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    width: Side
    height: Side
    columns: Annotated[int, Field(ge=1, le=MAX_TILES)]
    rows: Annotated[int, Field(ge=1, le=MAX_TILES)]
    tile: Annotated[int, Field(ge=0)]
    sparse: bool

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.start + MAX_CHUNK:
            raise ValueError(f"start < stop <= start + {MAX_CHUNK} must hold")
        if not self.tile < self.columns * self.rows <= MAX_TILES:
            raise ValueError(f"tile < columns x rows <= {MAX_TILES} must hold")
        return self

    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the tile with its overlap, in pixels of the video."""
        return tile_box(self.width, self.height, self.columns, self.rows, self.tile)


def _pixels(params: UpscaleTileParams, more: int = 0) -> int:
    left, top, right, bottom = params.box()
    return (right - left + more) * (bottom - top + more)


def _made(params: UpscaleTileParams) -> int:
    """Pixels that the network makes for a frame: the tile, and what it needs to see around it."""
    return _pixels(params, 2 * REACH * SCALE)


def _memory_mb(params: UpscaleTileParams) -> int:
    # About four maps of 64 channels, fp32, at a quarter of the output's size; then the output,
    # in fp32 and some times over.
    return 700 + _made(params) * (4 * 64 * 4 // SCALE**2 + 4 * 3 * 5) // 2**20


ENTRY = StageEntry(
    name="upscale_tile",
    version=1,
    summary="enlarge one tile of a run of frames (Real-ESRGAN)",
    inputs={"frames": "frames"},
    outputs={"tile": "tile"},
    params=UpscaleTileParams,
    unit="megapixel",
    units=lambda params: (params.stop - params.start) * _made(params) / 1e6,
    memory_mb=_memory_mb,
    # A bit and a half a pixel, where the coding can hardly be seen.
    bytes_out=lambda params: (params.stop - params.start) * _pixels(params) * 3 // 16 + 4096,
    model="realesrgan-animevideov3",
    load_s=0.5,
)
