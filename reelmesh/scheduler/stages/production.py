"""What the stages of production models share: their parameters, and how much a clip is."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from reelmesh.scheduler.models import MODELS, Model
from reelmesh.scheduler.stages.entry import StageParams


def _known(name: str) -> str:
    if name not in MODELS:
        raise ValueError(f"there is no model {name[:40]!r}")
    return name


class ModelParams(StageParams):
    """model: the production model's name in the registry."""

    model: Annotated[str, AfterValidator(_known)]

    @property
    def known(self) -> Model:
        """The registry's entry."""
        return MODELS[self.model]


class ClipParams(ModelParams):
    """A clip of `frames` frames of width x height pixels, as the model makes them."""

    width: Annotated[int, Field(ge=32, le=2048)]
    height: Annotated[int, Field(ge=32, le=2048)]
    frames: Annotated[int, Field(ge=1, le=257)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = self.known
        if self.width % known.stride or self.height % known.stride:
            raise ValueError(f"{self.model} makes multiples of {known.stride} pixels")
        if self.frames % known.frame_stride != 1 or self.frames > known.max_frames:
            raise ValueError(
                f"{self.model} makes {known.frame_stride}n + 1 frames, at most {known.max_frames}"
            )
        return self

    @property
    def tokens(self) -> int:
        """Places of the latent that the denoiser attends over."""
        known = self.known
        time = (self.frames - 1) // known.frame_stride + 1
        return time * (self.width // known.stride) * (self.height // known.stride)

    @property
    def audio_places(self) -> int:
        """Places of the sound's latent; 0 where the model makes none."""
        return round(self.frames * self.known.audio_rate / self.known.fps)

    @property
    def latent_bytes(self) -> int:
        """Of the float32 latent, with its sound's."""
        known = self.known
        side = known.stride // known.latent_stride
        video = self.tokens * side * side * known.latent_channels
        return (video + self.audio_places * known.audio_width) * 4


def stages_models(stage: str) -> tuple[str, ...]:
    """The models that have a part in a stage."""
    return tuple(name for name, model in MODELS.items() if stage in model.stages)
