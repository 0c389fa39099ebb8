"""view_layers: footage and depth → pictures that a viewer page makes every view from.

Each picture has four quarters: the frame and, below it, its depth; what lies behind the near things
and, below it, its depth.
"""

from __future__ import annotations

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.views import RunParams

ENTRY = StageEntry(
    name="view_layers",
    version=1,
    summary="lay near and far apart for the viewer page",
    inputs={"frames": "frames", "depth": "depth"},
    outputs={"frames": "frames"},
    params=RunParams,
    unit="megapixel",
    units=lambda params: params.pixels / 1e6,
    memory_mb=lambda params: 800 + params.pixels * 16 // 2**20,
    bytes_out=lambda params: params.pixels * 5,
)
