"""anchor: the model's clip and the buyer's picture → key frames that begin with the picture."""

from __future__ import annotations

from reelmesh.scheduler.stages.decode import SKELETON_FRAMES
from reelmesh.scheduler.stages.encode_image import PICTURE_SIZE, Side
from reelmesh.scheduler.stages.entry import StageEntry, StageParams


class AnchorParams(StageParams):
    """width, height: of the finished video; the key frames get its shape."""

    width: Side
    height: Side


ENTRY = StageEntry(
    name="anchor",
    version=1,
    summary="hold the clip to the picture that it begins with",
    inputs={"frames": "frames", "picture": "frames"},
    outputs={"frames": "frames"},
    params=AnchorParams,
    unit="frame",
    units=lambda _: float(SKELETON_FRAMES),
    memory_mb=lambda _: 600,
    bytes_out=lambda _: SKELETON_FRAMES * PICTURE_SIZE * PICTURE_SIZE * 3 // 2,
)
