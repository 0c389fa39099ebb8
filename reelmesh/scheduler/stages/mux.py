"""mux: the silent video and its sound → one MP4 with both."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import MIB, StageEntry, StageParams
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES


class MuxParams(StageParams):
    """frames: of the video; its sound must last as long, to one frame.

    video_bytes: what the video is expected to have, which the result has too.
    """

    fps: Annotated[int, Field(ge=1, le=60)]
    frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    video_bytes: Annotated[int, Field(ge=1, le=2**40)]


ENTRY = StageEntry(
    name="mux",
    version=1,
    summary="put the sound to the video (AAC)",
    inputs={"video": "video", "sound": "sound"},
    outputs={"video": "video"},
    params=MuxParams,
    unit="second",
    units=lambda params: params.frames / params.fps,
    memory_mb=lambda _: 600,
    bytes_out=lambda params: params.video_bytes + MIB,
)
