"""preview: the small clip → an MP4 that shows what is coming, before any detail is paid for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry, StageParams

PREVIEW_SIDE = 384
"""Pixels of the longer side."""
MAX_PREVIEW_FRAMES = 256
Side = Annotated[int, Field(ge=16, le=PREVIEW_SIDE, multiple_of=2)]


class PreviewParams(StageParams):
    """All frames of the input over `seconds`, at width x height pixels."""

    seconds: Annotated[float, Field(ge=1, le=20)]
    width: Side
    height: Side


def preview_params(seconds: float, width: int, height: int) -> PreviewParams:
    """For a video of that length and size: the same shape, as nearly as even numbers allow."""
    scale = PREVIEW_SIDE / max(width, height)
    sides = (min(PREVIEW_SIDE, max(16, round(side * scale / 2) * 2)) for side in (width, height))
    return PreviewParams(seconds=float(seconds), width=next(sides), height=next(sides))


ENTRY = StageEntry(
    name="preview",
    version=1,
    summary="show the small clip as an MP4",
    inputs={"frames": "frames"},
    outputs={"video": "video"},
    params=PreviewParams,
    unit="clip",
    units=lambda _: 1.0,
    memory_mb=lambda _: 500,
    bytes_out=lambda _: 512 * 1024,
)
