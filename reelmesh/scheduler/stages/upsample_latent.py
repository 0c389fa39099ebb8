"""upsample_latent: a clip's latent → the same clip's latent at twice the width and height."""

from __future__ import annotations

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ClipParams, stages_models


class UpsampleLatentParams(ClipParams):
    """The clip as it comes in; what goes out is twice as wide and high."""


def _pixels(params: UpsampleLatentParams) -> int:
    return 4 * params.frames * params.width * params.height


ENTRY = StageEntry(
    name="upsample_latent",
    version=1,
    summary="double a clip's size while it is a latent (a production model)",
    inputs={"latent": "latent"},
    outputs={"latent": "latent"},
    params=UpsampleLatentParams,
    unit="megapixel",
    units=lambda params: _pixels(params) / 1e6,
    # Some eight maps of a thousand channels at the doubled size, in float32.
    memory_mb=lambda params: (
        1500 + params.known.weights_mb["upsample_latent"] + params.tokens * 4 * 1024 * 32 // 2**20
    ),
    bytes_out=lambda params: 4 * params.latent_bytes + 4096,
    models=stages_models("upsample_latent"),
    load_s=10.0,
)
