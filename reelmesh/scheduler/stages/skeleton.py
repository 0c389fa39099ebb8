"""skeleton: token features → the clip's latent, some Euler steps at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from reelmesh.scheduler.stages.entry import StageEntry, StageParams

MAX_STEPS = 50
UNGUIDED = 0.6
"""What a step without guidance costs, in steps with it: one prediction instead of two."""


class SkeletonParams(StageParams):
    """Steps [start, stop) of a denoise loop of `steps`; start 0 begins from the seed's noise.

    guided: how many of the loop's first steps are guided by the text against no text, at the cost
    of a second prediction; the later ones only add detail. Left out where all are.
    """

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    start: Annotated[int, Field(ge=0, le=49)]
    stop: Annotated[int, Field(ge=1, le=50)]
    steps: Annotated[int, Field(ge=4, le=50)]
    guidance: Annotated[float, Field(ge=1, le=10)]
    guided: Annotated[int, Field(ge=0, le=MAX_STEPS)] = MAX_STEPS

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if self.guided == MAX_STEPS:
            fields.pop("guided", None)
        return fields

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.steps:
            raise ValueError("start < stop <= steps must hold")
        return self


def _inputs(params: SkeletonParams) -> Mapping[str, str]:
    first = {"features": "features"}
    return first if params.start == 0 else {**first, "latent": "latent"}


def step_units(params: SkeletonParams) -> float:
    """The work of a range, in guided steps."""
    guided = max(0, min(params.stop, params.guided) - params.start)
    return guided + UNGUIDED * (params.stop - params.start - guided)


ENTRY = StageEntry(
    name="skeleton",
    version=2,
    summary="denoise a short, small clip, some steps at a time (tiny_t2v)",
    inputs={"features": "features"},
    optional_inputs={"latent": "latent"},
    inputs_of=_inputs,
    outputs={"latent": "latent"},
    params=SkeletonParams,
    unit="step",
    units=step_units,
    memory_mb=lambda _: 700,
    bytes_out=lambda _: 64 * 1024,
    model="tiny_t2v",
    load_s=0.5,
)
