"""refine_latent: an upsampled latent → the same clip with the detail of its size."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.denoise import cost_of_passes, memory_of_passes
from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ClipParams, stages_models

STEPS = 3
"""Few, since the network has been taught to take large ones."""


class RefineLatentParams(ClipParams):
    """The clip at its full size; seed: of the noise that is mixed in before it is taken out."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]


ENTRY = StageEntry(
    name="refine_latent",
    version=1,
    summary="give an upsampled clip the detail of its size (a production model)",
    inputs={"features": "features", "latent": "latent"},
    outputs={"latent": "latent"},
    params=RefineLatentParams,
    unit="megatoken-step",
    units=lambda params: cost_of_passes(params, STEPS),
    memory_mb=lambda params: memory_of_passes(params, "refine_latent"),
    bytes_out=lambda params: params.latent_bytes + 4096,
    models=stages_models("refine_latent"),
    load_s=90.0,
)
