"""refine_views: views with holes → whole views, filled from other times, then from around."""

from __future__ import annotations

from collections.abc import Mapping

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.views import PosedParams


class RefineViewsParams(PosedParams):
    """before, after: whether the neighbouring run's views come in too."""

    before: bool
    after: bool


def _inputs(params: RefineViewsParams) -> Mapping[str, str]:
    near = {name: "views" for name in ("before", "after") if getattr(params, name)}
    return {"views": "views", "frames": "frames", "depth": "depth", **near}


ENTRY = StageEntry(
    name="refine_views",
    version=1,
    summary="fill the holes of a run of views, in space and time",
    inputs={"views": "views", "frames": "frames", "depth": "depth"},
    optional_inputs={"before": "views", "after": "views"},
    inputs_of=_inputs,
    outputs={"frames": "frames"},
    params=RefineViewsParams,
    unit="megapixel",
    units=lambda params: params.pixels / 1e6,
    memory_mb=lambda params: 900 + params.pixels * 40 // 2**20,
    bytes_out=lambda params: params.pixels * 2,
)
