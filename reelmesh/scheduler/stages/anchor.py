"""anchor: the model's clips and the buyer's picture → a stretch of the video's timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.stages.encode_image import PICTURE_SIZE, Side
from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES

CLIP_S = 2.5
"""How long a clip of the model lasts in the world: what bounces there bounces every 1.7 s."""
OVERLAP_S = 0.5
MAX_CLIPS = 16


class AnchorParams(StageParams):
    """Frames [start, stop) of a timeline of `total` at `fps`, from `clips` clips.

    width, height: of the finished video; the frames get its shape.
    """

    start: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    stop: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    total: Annotated[int, Field(ge=2, le=MAX_FRAMES)]
    fps: Annotated[int, Field(ge=1, le=60)]
    clips: Annotated[int, Field(ge=1, le=MAX_CLIPS)]
    width: Side
    height: Side

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.total:
            raise ValueError("start < stop <= total must hold")
        return self

    def clip_s(self) -> float:
        """Seconds that one clip lasts: CLIP_S, or the whole of a shorter video."""
        return min(CLIP_S, self.total / self.fps)


def clips_for(seconds: float) -> int:
    """How many clips, each overlapping the next by OVERLAP_S, a video is made from."""
    count, reach = 1, CLIP_S
    while reach < seconds and count < MAX_CLIPS:
        count, reach = count + 1, reach + CLIP_S - OVERLAP_S
    return count


def _inputs(params: AnchorParams) -> Mapping[str, str]:
    return {**{f"clip-{i}": "frames" for i in range(params.clips)}, "picture": "frames"}


def _frames(params: AnchorParams) -> int:
    return params.stop - params.start


ENTRY = StageEntry(
    name="anchor",
    version=2,
    summary="set the picture in motion as the clips go",
    inputs={"clip-*": "frames", "picture": "frames"},
    inputs_of=_inputs,
    outputs={"frames": "frames"},
    params=AnchorParams,
    unit="frame",
    units=lambda params: float(_frames(params)),
    memory_mb=lambda params: 600 + _frames(params) // 8,
    bytes_out=lambda params: _frames(params) * PICTURE_SIZE * PICTURE_SIZE * 3 // 2,
)
