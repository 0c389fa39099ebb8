"""decode_latent: a production model's finished latent → its frames."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ClipParams, stages_models


class DecodeLatentParams(ClipParams):
    """The clip that the latent holds.

    keep: how many of its frames are wanted, from the first on; left out where all are.
    """

    keep: Annotated[int, Field(ge=0, le=257)] = 0

    @model_validator(mode="after")
    def _kept(self) -> Self:
        if self.keep == 1 or self.keep > self.frames:
            raise ValueError("keep is 2 frames or more, and no more than there are")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if not self.keep:
            fields.pop("keep", None)
        return fields


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
        + _pixels(params) * params.known.decode_bytes // 2**20
    ),
    bytes_out=lambda params: _pixels(params) * 3,
    models=stages_models("decode_latent"),
    load_s=5.0,
)
