"""steady_depth: the runs' depth → one scale for the whole clip, sharp at edges, without flicker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.views import MAX_KEYS, RunParams


class SteadyDepthParams(RunParams):
    """Frames [0, stop) of the whole clip; runs: how many come in, depth-0, depth-1, …"""

    runs: Annotated[int, Field(ge=1, le=MAX_KEYS)]

    @classmethod
    def most(cls) -> int:
        """A whole clip at once."""
        return MAX_KEYS


def _inputs(params: SteadyDepthParams) -> Mapping[str, str]:
    return {"frames": "frames", **{f"depth-{i}": "depth" for i in range(params.runs)}}


ENTRY = StageEntry(
    name="steady_depth",
    version=1,
    summary="hold the depth of a whole clip steady",
    inputs={"frames": "frames", "depth-*": "depth"},
    inputs_of=_inputs,
    outputs={"depth": "depth"},
    params=SteadyDepthParams,
    unit="megapixel",
    units=lambda params: params.pixels / 1e6,
    # Frames as bytes, depth twice as 16 bits.
    memory_mb=lambda params: 600 + params.pixels * 8 // 2**20,
    bytes_out=lambda params: params.pixels,
)
