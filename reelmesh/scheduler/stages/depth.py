"""depth: a run of footage → how near each pixel is, each frame by itself."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from reelmesh.scheduler.models import MODELS
from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import stages_models
from reelmesh.scheduler.stages.views import MAX_KEYS, RunParams

ANCHORS = 5
"""Frames, spread over the clip, that tell a production model's scale: see `DepthParams`."""
_NAMES = stages_models("depth")


class DepthParams(RunParams):
    """model, total: of a production model alone: its name, and the frames of the whole clip.

    A production model's numbers have no scale of their own. Every run looks at the same few frames
    of the clip beside its own, and takes the scale from them. Left out for the embedded network.
    """

    model: str = ""
    total: Annotated[int, Field(ge=0, le=MAX_KEYS)] = 0

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.model and self.model not in _NAMES:
            raise ValueError(f"there is no model {self.model[:40]!r} for depth")
        if bool(self.model) != bool(self.total) or 0 < self.total < self.stop:
            raise ValueError("total is the clip's frames, said with a model, and at least stop")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        return fields if self.model else {k: v for k, v in fields.items() if k not in _LATER}


_LATER = ("model", "total")


def anchors(total: int) -> list[int]:
    """Frames of a clip of `total` frames that tell its scale, in order."""
    count = min(ANCHORS, total)
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def _units(params: DepthParams) -> float:
    seen = params.frames + len(anchors(params.total))
    return seen * params.width * params.height / 1e6


def _memory_mb(params: DepthParams) -> int:
    run = params.pixels * 8 // 2**20
    if not params.model:
        return 700 + run
    # Measured with a network of the published size: 720 MiB in all.
    return 900 + MODELS[params.model].weights_mb["depth"] + run


ENTRY = StageEntry(
    name="depth",
    version=1,
    summary="tell near from far in a run of frames",
    inputs={"frames": "frames"},
    outputs={"depth": "depth"},
    params=DepthParams,
    unit="megapixel",
    units=_units,
    memory_mb=_memory_mb,
    bytes_out=lambda params: params.pixels,
    model="reelmesh-depth",
    load_s=0.1,
    models=_NAMES,
)
