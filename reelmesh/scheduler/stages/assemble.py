"""assemble: the segments in their order → the finished MP4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from reelmesh.scheduler.stages.entry import MIB, StageEntry, StageParams

MAX_SEGMENTS = 1200


class AssembleParams(StageParams):
    """segments: how many come in, named segment-0, segment-1, … in the order that they play.

    segment_mb: MiB that each is expected to have; left out at 1, as in plans from before there were
    large ones.
    """

    fps: Annotated[int, Field(ge=1, le=60)]
    segments: Annotated[int, Field(ge=1, le=MAX_SEGMENTS)]
    segment_mb: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if self.segment_mb == 1:
            fields.pop("segment_mb", None)
        return fields


def _inputs(params: AssembleParams) -> Mapping[str, str]:
    return {f"segment-{i}": "segment" for i in range(params.segments)}


ENTRY = StageEntry(
    name="assemble",
    version=1,
    summary="join the segments into one MP4, without encoding them again",
    inputs={"segment-*": "segment"},
    inputs_of=_inputs,
    outputs={"video": "video"},
    params=AssembleParams,
    unit="segment",
    units=lambda params: float(params.segments),
    memory_mb=lambda _: 500,
    bytes_out=lambda params: params.segments * params.segment_mb * MIB,
)
