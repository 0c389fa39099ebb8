"""decode_latent: a production model's finished latent → its frames."""

from __future__ import annotations

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ClipParams, stages_models


class DecodeLatentParams(ClipParams):
    """The clip that the latent holds."""


def _pixels(params: DecodeLatentParams) -> int:
    return params.frames * params.width * params.height


ENTRY = StageEntry(
    name="decode_latent",
    version=1,
    summary="decode a production model's latent into frames",
    inputs={"latent": "latent"},
    outputs={"frames": "frames"},
    params=DecodeLatentParams,
    unit="megapixel",
    units=lambda params: _pixels(params) / 1e6,
    # Some frames at a time through maps of up to a hundred channels, and all frames as pixels.
    memory_mb=lambda params: (
        1500
        + params.known.weights_mb["decode_latent"]
        + params.width * params.height * 96 * 4 * 8 // 2**20
        + _pixels(params) * 16 // 2**20
    ),
    bytes_out=lambda params: _pixels(params) * 3,
    models=stages_models("decode_latent"),
    load_s=5.0,
)
