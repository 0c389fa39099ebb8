"""depth: a run of footage → how near each pixel is, each frame by itself."""

from __future__ import annotations

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.views import RunParams

ENTRY = StageEntry(
    name="depth",
    version=1,
    summary="tell near from far in a run of frames",
    inputs={"frames": "frames"},
    outputs={"depth": "depth"},
    params=RunParams,
    unit="megapixel",
    units=lambda params: params.pixels / 1e6,
    memory_mb=lambda params: 700 + params.pixels * 8 // 2**20,
    bytes_out=lambda params: params.pixels,
    model="reelmesh-depth",
    load_s=0.1,
)
