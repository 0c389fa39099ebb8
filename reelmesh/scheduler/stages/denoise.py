"""denoise: a range of denoising steps of a production model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ClipParams, stages_models


class LoopParams(ClipParams):
    """Steps [start, stop) of a loop of `steps`; start 0 begins from the seed's noise."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    start: Annotated[int, Field(ge=0, le=99)]
    stop: Annotated[int, Field(ge=1, le=100)]
    steps: Annotated[int, Field(ge=2, le=100)]
    guidance: Annotated[float, Field(ge=1, le=20)]

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.steps:
            raise ValueError("start < stop <= steps must hold")
        return self


class DenoiseParams(LoopParams):
    """A range of a clip's loop.

    cache: the step cache, which skips most of the network on steps that hardly differ from the one
    before; a range begins with a whole step. Left out where it is off.
    """

    cache: Literal["off", "first_block", "mag"] = "off"

    @model_validator(mode="after")
    def _cached(self) -> Self:
        if self.cache != "off" and self.cache not in self.known.caches:
            raise ValueError(f"{self.model} does not run with the step cache {self.cache}")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if self.cache == "off":
            fields.pop("cache", None)
        return fields


def _inputs(params: DenoiseParams) -> Mapping[str, str]:
    given = {"features": "features"}
    if params.known.begins_with_picture:
        given["condition"] = "condition"
    return given if params.start == 0 else {**given, "latent": "latent"}


def cost_of_passes(params: ClipParams, count: int) -> float:
    """Millions of token-steps; attention over n tokens costs what the rest does at 7 x width."""
    attention = 1 + params.tokens / (7 * params.known.width_hidden)
    return count * params.tokens * attention / 1e6


def units_of_loop(params: LoopParams) -> float:
    """With guidance every step is taken twice. A step cache is not counted: how much it skips
    depends on the content.
    """
    passes = 2 if params.guidance > 1 else 1
    return cost_of_passes(params, passes * (params.stop - params.start))


def memory_of_passes(params: ClipParams, stage: str) -> int:
    """MiB. A token's features are held some ten times over in a block's float32 and bfloat16
    copies.
    """
    known = params.known
    return 1500 + known.weights_mb[stage] + params.tokens * known.width_hidden * 20 // 2**20


ENTRY = StageEntry(
    name="denoise",
    version=1,
    summary="denoise a clip, some steps at a time (a production model)",
    inputs={"features": "features"},
    optional_inputs={"latent": "latent", "condition": "condition"},
    inputs_of=_inputs,
    outputs={"latent": "latent"},
    params=DenoiseParams,
    unit="megatoken-step",
    units=units_of_loop,
    memory_mb=lambda params: memory_of_passes(params, "denoise"),
    bytes_out=lambda params: params.latent_bytes + 4096,
    models=stages_models("denoise"),
    load_s=60.0,
)
