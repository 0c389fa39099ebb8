"""repair: a finished latent → the same with some of its chunks denoised anew, the others held."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.stages.decode import SKELETON_FRAMES
from reelmesh.scheduler.stages.entry import StageEntry, StageParams

CHUNK_FRAMES = 2
"""Frames of the small clip in one chunk of its latent."""
CHUNKS = SKELETON_FRAMES // CHUNK_FRAMES


class RepairParams(StageParams):
    """Chunks [first, end) anew, from the seed's noise, in `steps` steps guided by the features."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    steps: Annotated[int, Field(ge=4, le=50)]
    guidance: Annotated[float, Field(ge=1, le=10)]
    first: Annotated[int, Field(ge=0, lt=CHUNKS)]
    end: Annotated[int, Field(ge=1, le=CHUNKS)]

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.first >= self.end:
            raise ValueError("first < end must hold")
        return self


ENTRY = StageEntry(
    name="repair",
    version=2,
    summary="denoise a part of a clip anew, held to the rest (tiny_t2v)",
    inputs={"features": "features", "latent": "latent"},
    outputs={"latent": "latent"},
    params=RepairParams,
    unit="step",
    units=lambda params: float(params.steps),
    memory_mb=lambda _: 700,
    bytes_out=lambda _: 64 * 1024,
    model="tiny_t2v",
    load_s=0.5,
)
