"""encode_frames: a clip's frames → the latent that a production model has of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.interpolate import MAX_FRAMES
from reelmesh.scheduler.stages.production import ClipParams, stages_models


class EncodeFramesParams(ClipParams):
    """The clip as the model is to see it: its size, and its frames at the model's own rate.

    count: how many frames come in, of any size; they span a video of `total` frames at `fps`, from
    the first to the last.
    """

    count: Annotated[int, Field(ge=2, le=MAX_FRAMES)]
    fps: Annotated[int, Field(ge=1, le=60)]
    total: Annotated[int, Field(ge=2, le=MAX_FRAMES)]

    def source(self, number: int) -> int:
        """Which of the frames that come in is the nearest in time to the model's frame `number`.

        The last one, where that lies beyond the video's end.
        """
        moment = number * self.fps * (self.count - 1)
        whole = self.known.fps * (self.total - 1)
        return min(self.count - 1, (2 * moment + whole) // (2 * whole))


def _pixels(params: EncodeFramesParams) -> int:
    return params.frames * params.width * params.height


ENTRY = StageEntry(
    name="encode_frames",
    version=1,
    summary="encode a clip's frames, to make a sound for them (a production model)",
    inputs={"frames": "frames"},
    outputs={"latent": "latent"},
    params=EncodeFramesParams,
    unit="megapixel",
    units=lambda params: _pixels(params) / 1e6,
    # As the way back: see `decode_latent`.
    memory_mb=lambda params: (
        1500
        + params.known.weights_mb["encode_frames"]
        + params.width * params.height * 96 * 4 * 8 // 2**20
        + _pixels(params) * params.known.decode_bytes // 2**20
    ),
    bytes_out=lambda params: params.latent_bytes + 4096,
    models=stages_models("encode_frames"),
    load_s=5.0,
)
