"""encode_first_frame: the buyer's picture → what a production model begins its clip with."""

from __future__ import annotations

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ClipParams, stages_models

IMAGE_TOKENS = 1025
"""Places that the picture's encoder looks at, at most, each of up to 1664 features."""


class EncodeFirstFrameParams(ClipParams):
    """The clip whose first frame the picture is, cropped to its shape."""


ENTRY = StageEntry(
    name="encode_first_frame",
    version=1,
    summary="encode the picture that a clip begins with (a production model)",
    inputs={"image": "picture"},
    outputs={"condition": "condition"},
    params=EncodeFirstFrameParams,
    unit="megapixel",
    units=lambda params: params.frames * params.width * params.height / 1e6,
    # The picture as it unpacks, and the clip through maps of up to a hundred channels.
    memory_mb=lambda params: (
        2500
        + params.known.weights_mb["encode_first_frame"]
        + params.width * params.height * 96 * 4 * 8 // 2**20
        + params.frames * params.width * params.height * 12 // 2**20
    ),
    bytes_out=lambda params: params.latent_bytes * 5 // 4 + IMAGE_TOKENS * 1664 * 4,
    models=stages_models("encode_first_frame"),
    load_s=10.0,
)
