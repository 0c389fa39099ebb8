"""warp: footage and its depth, seen from where the camera goes; what it never showed stays open."""

from __future__ import annotations

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.views import PosedParams

ENTRY = StageEntry(
    name="warp",
    version=1,
    summary="draw a run of frames from other camera positions",
    inputs={"frames": "frames", "depth": "depth"},
    outputs={"views": "views"},
    params=PosedParams,
    unit="megapixel",
    units=lambda params: params.pixels / 1e6,
    memory_mb=lambda params: 900 + params.pixels * 8 // 2**20,
    bytes_out=lambda params: params.pixels * 3,
)
