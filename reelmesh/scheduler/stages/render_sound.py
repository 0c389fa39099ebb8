"""render_sound: events in a style → the video's sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from reelmesh.scheduler.spec import AudioStyle
from reelmesh.scheduler.stages.entry import StageEntry, StageParams

MAX_SECONDS = 20.5
Style = AudioStyle
Ambience = Literal["room", "wind", "sea", "rain", "forest", "night", "space", "city"]


class RenderSoundParams(StageParams):
    """seconds: how long the sound is; speech: whether a spoken line comes in to be mixed."""

    seconds: Annotated[float, Field(ge=0.5, le=MAX_SECONDS)]
    style: Style
    ambience: Ambience
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    speech: bool = False


def _inputs(params: RenderSoundParams) -> Mapping[str, str]:
    spoken = {"speech": "sound"} if params.speech else {}
    return {"events": "events", **spoken}


ENTRY = StageEntry(
    name="render_sound",
    version=1,
    summary="make the sound of what happens (modal synthesis)",
    inputs={"events": "events"},
    optional_inputs={"speech": "sound"},
    inputs_of=_inputs,
    outputs={"sound": "sound"},
    params=RenderSoundParams,
    unit="second",
    units=lambda params: params.seconds,
    memory_mb=lambda params: 600 + int(params.seconds * 16),
    bytes_out=lambda params: int(params.seconds * 48_000 * 4),
)
