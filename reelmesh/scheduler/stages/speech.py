"""speech: a line of text → somebody saying it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from reelmesh.scheduler.quotes import MAX_SPOKEN
from reelmesh.scheduler.stages.entry import StageEntry, StageParams
from reelmesh.scheduler.stages.render_sound import MAX_SECONDS, Style

Line = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_SPOKEN, pattern=r"^[A-Za-z0-9 .,!?;:'-]+$")
]


class SpeechParams(StageParams):
    """seconds: the most that it may last; a longer line is spoken faster, and then ends early."""

    text: Line
    style: Style
    seconds: Annotated[float, Field(ge=0.5, le=MAX_SECONDS)]
    language: Literal["en"] = "en"


ENTRY = StageEntry(
    name="speech",
    version=1,
    summary="speak the line that the prompt quotes (flite)",
    inputs={},
    outputs={"sound": "sound"},
    params=SpeechParams,
    unit="character",
    units=lambda params: float(len(params.text)),
    memory_mb=lambda _: 600,
    # A channel of 16 bits at 48 kHz; lossless coding takes more than half of it away.
    bytes_out=lambda params: int(params.seconds * 48_000 * 2),
    model="flite",
    load_s=0.1,
)
