"""What the market knows of a kind of work: its inputs and outputs, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

KINDS: Mapping[str, str] = {
    "picture": "a still as the buyer has it: PNG, JPEG or WebP",
    "footage": "a video as the buyer has it, in any common container",
    "features": "safetensors: what a text encoder made of a prompt",
    "condition": "safetensors: what a production model begins a clip with",
    "latent": "safetensors: a clip on its way through a denoise loop, or at its end",
    "frames": "lossless video, libx264rgb at qp 0 in MP4 or MKV, uint8 RGB",
    "tile": "H.264 yuv420p in MKV, finely coded: a part of a run of a video's frames",
    "depth": "lossless video, 10-bit grey in libx264 at qp 0: 1/z, 0 is far and 1023 near",
    "views": "as frames: colours in the upper half; below disparity (R) and what was hit (G)",
    "segment": "H.264 yuv420p MP4, one run of a video's frames, starting at a key frame",
    "video": "MP4, the finished video",
    "events": "JSON: what happens in a clip that can be heard, see node/stages/events.py",
    "sound": "FLAC, 48 kHz, 16 bits, one or two channels",
}
"""Artifact kinds and what their bytes are."""

MIB = 1024 * 1024
BYTES_SLACK = 8
"""Times the expected size, and a MiB more, that outputs may have."""


class StageParams(BaseModel):
    """Base of every stage's parameters: exact types, nothing unknown, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


P = TypeVar("P", bound=StageParams)


@dataclass(frozen=True)
class StageEntry(Generic[P]):
    """One stage of the catalogue.

    Attributes:
        inputs: input name → artifact kind. A name that ends in `-*` stands for `-0`, `-1`, …
        optional_inputs: inputs that some parameters ask for and others forbid.
        outputs: output name → artifact kind.
        unit: what work is counted in; prices and speeds are per unit.
        units: how many units a subtask with these parameters is; > 0.
        memory_mb: peak memory of a run, in MiB, with its libraries.
        bytes_out: size expected of all outputs together, for transfer times.
        model: the weights that it keeps resident, or None.
        load_s: seconds to load the model on a usual disk, where it is not resident.
        inputs_of: the exact inputs for given parameters, where they vary.
        models: production models that it runs with, one named by the parameter `model`; empty for
            a stage with its embedded backend alone. A stage that has both names no model in the
            parameters of its embedded backend.
    """

    name: str
    version: int
    summary: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    params: type[P]
    unit: str
    units: Callable[[P], float]
    memory_mb: Callable[[P], int]
    bytes_out: Callable[[P], int]
    model: str | None = None
    load_s: float = 0.0
    optional_inputs: Mapping[str, str] = field(default_factory=dict)
    inputs_of: Callable[[P], Mapping[str, str]] | None = None
    models: tuple[str, ...] = ()

    @property
    def embedded(self) -> bool:
        """Whether it runs without a production model."""
        return self.model is not None or not self.models

    @property
    def has_weights(self) -> bool:
        """Whether a run names a model's hash."""
        return self.model is not None or bool(self.models)

    def inputs_for(self, params: P) -> Mapping[str, str]:
        """Exactly the inputs (name → kind) that a run with these parameters takes."""
        return self.inputs if self.inputs_of is None else self.inputs_of(params)

    def bytes_limit(self, params: P) -> int:
        """The most bytes of outputs that a receiver takes; far above what is expected."""
        return BYTES_SLACK * self.bytes_out(params) + MIB
