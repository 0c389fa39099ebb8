"""decode: latent → 16 frames of 64x64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import StageContext, bad_input
from .frames import write_frames
from .tensors import read_tensors, tensor_bytes
from .tiny_stage import TinyModelStage


class Decode(TinyModelStage):
    """Input `latent`, output `frames`: lossless video of `params.frames` 64x64 pictures."""

    name = "decode"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Decodes. Raises StageFailed ("bad_input"), StageCancelled."""
        latent = read_tensors(inputs["latent"], self.latent_spec())["latent"]
        ctx.progress(0.0, "decoding")
        frames = self.model.decode(latent)
        if len(frames) != params.frames:
            raise bad_input(f"the latent holds {len(frames)} frames, not {params.frames}")
        ctx.step(tensor_bytes(frames))
        out = write_frames(ctx.workdir / "frames.mkv", frames.numpy())
        ctx.progress(1.0)
        return {"frames": out}
