"""decode: the finished latent → 16 frames of 64x64."""

from __future__ import annotations

from typing import Literal

from reelmesh.scheduler.stages.entry import StageEntry, StageParams

SKELETON_FRAMES = 16
SKELETON_SIZE = 64


class DecodeParams(StageParams):
    """frames: how many the model makes; 16."""

    frames: Literal[16] = 16


ENTRY = StageEntry(
    name="decode",
    version=1,
    summary="decode the latent into small frames (tiny_t2v)",
    inputs={"latent": "latent"},
    outputs={"frames": "frames"},
    params=DecodeParams,
    unit="frame",
    units=lambda params: float(params.frames),
    memory_mb=lambda _: 700,
    bytes_out=lambda params: params.frames * SKELETON_SIZE * SKELETON_SIZE * 3 // 2,
    model="tiny_t2v",
    load_s=0.5,
)
