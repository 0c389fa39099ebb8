"""restyle: a run of frames → the same in another look, steady over time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.spec import Style
from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.upscale import MAX_CHUNK


class RestyleParams(StageParams):
    """The input is `lead` frames that only lead in, then `frames` that come out."""

    style: Style
    lead: Annotated[int, Field(ge=0, le=24)]
    frames: Annotated[int, Field(ge=1, le=MAX_CHUNK)]
    width: Annotated[int, Field(ge=64, le=1024, multiple_of=64)]
    height: Annotated[int, Field(ge=64, le=1024, multiple_of=64)]


def _pixels(params: RestyleParams) -> int:
    return (params.lead + params.frames) * params.width * params.height


ENTRY = StageEntry(
    name="restyle",
    version=1,
    summary="give frames another look (sketch, cartoon, …), steady over time",
    inputs={"frames": "frames"},
    outputs={"frames": "frames"},
    params=RestyleParams,
    unit="megapixel",
    units=lambda params: _pixels(params) / 1e6,
    memory_mb=lambda params: 600 + params.width * params.height * 200 // 2**20,
    bytes_out=lambda params: _pixels(params) * 3 // 2,
)
