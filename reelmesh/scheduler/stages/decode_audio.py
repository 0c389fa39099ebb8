"""decode_audio: the sound that a production model made with a clip's pictures, or for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ClipParams, stages_models


class DecodeAudioParams(ClipParams):
    """The clip that the latent holds; seconds: how much of its sound is wanted, from the start."""

    seconds: Annotated[float, Field(ge=0.5, le=20.5)]


ENTRY = StageEntry(
    name="decode_audio",
    version=1,
    summary="decode a clip's sound (a production model)",
    inputs={"latent": "latent"},
    outputs={"sound": "sound"},
    params=DecodeAudioParams,
    unit="second",
    units=lambda params: params.seconds,
    memory_mb=lambda params: (
        1500 + params.known.weights_mb["decode_audio"] + int(params.seconds * 64)
    ),
    bytes_out=lambda params: int(params.seconds * 48_000 * 4),
    models=stages_models("decode_audio"),
    load_s=5.0,
)
