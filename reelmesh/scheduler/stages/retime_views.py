"""retime_views: a run of views → the frames between them too, following motion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.views import RunParams


class RetimeViewsParams(RunParams):
    """times: frames made for each view; out: frames wanted; after: the next run comes in too."""

    times: Annotated[int, Field(ge=2, le=5)]
    out: Annotated[int, Field(ge=1, le=120)]
    after: bool


def _inputs(params: RetimeViewsParams) -> Mapping[str, str]:
    return {"frames": "frames", **({"after": "frames"} if params.after else {})}


def _pixels(params: RetimeViewsParams) -> int:
    return params.out * params.width * params.height


ENTRY = StageEntry(
    name="retime_views",
    version=1,
    summary="make the frames between views, following motion",
    inputs={"frames": "frames"},
    optional_inputs={"after": "frames"},
    inputs_of=_inputs,
    outputs={"frames": "frames"},
    params=RetimeViewsParams,
    unit="megapixel",
    units=lambda params: _pixels(params) / 1e6,
    memory_mb=lambda params: 700 + params.pixels * 3 // 2**20,
    bytes_out=lambda params: _pixels(params) * 2,
)
