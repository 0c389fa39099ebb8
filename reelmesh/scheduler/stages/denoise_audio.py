"""denoise_audio: a range of the steps that make a sound for pictures that are there already."""

from __future__ import annotations

from collections.abc import Mapping

from reelmesh.scheduler.stages.denoise import LoopParams, memory_of_passes, units_of_loop
from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import stages_models


class DenoiseAudioParams(LoopParams):
    """Steps [start, stop) of a loop of `steps`; the clip is the one that is looked at."""


def _inputs(params: DenoiseAudioParams) -> Mapping[str, str]:
    given = {"features": "features", "clip": "latent"}
    return given if params.start == 0 else {**given, "latent": "latent"}


ENTRY = StageEntry(
    name="denoise_audio",
    version=1,
    summary="denoise the sound of a clip, some steps at a time (a production model)",
    inputs={"features": "features", "clip": "latent"},
    optional_inputs={"latent": "latent"},
    inputs_of=_inputs,
    outputs={"latent": "latent"},
    params=DenoiseAudioParams,
    unit="megatoken-step",
    # The picture goes through the whole network too, though nothing of it is changed.
    units=units_of_loop,
    memory_mb=lambda params: memory_of_passes(params, "denoise_audio"),
    bytes_out=lambda params: params.latent_bytes + 4096,
    models=stages_models("denoise_audio"),
    load_s=60.0,
)
