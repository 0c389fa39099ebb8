"""pack_4d: the video along the path, with the viewer's layers inside the same MP4."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import MIB, StageEntry, StageParams


class Pack4dParams(StageParams):
    """seconds: of the video, rounded up; bounds its size."""

    seconds: Annotated[int, Field(ge=1, le=20)]


ENTRY = StageEntry(
    name="pack_4d",
    version=1,
    summary="put the viewer's layers into the video's file",
    inputs={"video": "video", "layers": "video"},
    outputs={"video": "video"},
    params=Pack4dParams,
    unit="second",
    units=lambda params: float(params.seconds),
    memory_mb=lambda _: 400,
    bytes_out=lambda params: params.seconds * 4 * MIB,
)
