"""skeleton: token features → the clip's latent, some Euler steps at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.stages.entry import StageEntry, StageParams


class SkeletonParams(StageParams):
    """Steps [start, stop) of a denoise loop of `steps`; start 0 begins from the seed's noise."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    start: Annotated[int, Field(ge=0, le=49)]
    stop: Annotated[int, Field(ge=1, le=50)]
    steps: Annotated[int, Field(ge=4, le=50)]
    guidance: Annotated[float, Field(ge=1, le=10)]

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.steps:
            raise ValueError("start < stop <= steps must hold")
        return self


def _inputs(params: SkeletonParams) -> Mapping[str, str]:
    first = {"features": "features"}
    return first if params.start == 0 else {**first, "latent": "latent"}


ENTRY = StageEntry(
    name="skeleton",
    version=1,
    summary="denoise a short, small clip, some steps at a time (tiny_t2v)",
    inputs={"features": "features"},
    optional_inputs={"latent": "latent"},
    inputs_of=_inputs,
    outputs={"latent": "latent"},
    params=SkeletonParams,
    unit="step",
    units=lambda params: float(params.stop - params.start),
    memory_mb=lambda _: 700,
    bytes_out=lambda _: 64 * 1024,
    model="tiny_t2v",
    load_s=0.5,
)
