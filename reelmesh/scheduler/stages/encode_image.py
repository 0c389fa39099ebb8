"""encode_image: the buyer's picture → one upright square picture that the model can begin from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.sizes import MOST_SIDE
from reelmesh.scheduler.stages.entry import StageEntry, StageParams

PICTURE_SIZE = 256
"""Side of the square that a picture is fitted to; the model sees a quarter of that."""

Side = Annotated[int, Field(ge=64, le=MOST_SIDE, multiple_of=2)]


class EncodeImageParams(StageParams):
    """width, height: of the finished video, whose shape the picture is fitted into."""

    width: Side
    height: Side


ENTRY = StageEntry(
    name="encode_image",
    version=1,
    summary="decode the buyer's picture and fit it to the model",
    inputs={"image": "picture"},
    outputs={"frames": "frames"},
    params=EncodeImageParams,
    unit="picture",
    units=lambda _: 1.0,
    # A decoder holds the picture twice: as it was coded, and as RGB with alpha.
    memory_mb=lambda _: 1400,
    bytes_out=lambda _: PICTURE_SIZE * PICTURE_SIZE * 3 // 2,
)
