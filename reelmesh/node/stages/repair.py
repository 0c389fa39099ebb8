"""repair: some chunks of a finished latent denoised anew, the others held to what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import tiny_t2v
from .base import StageContext, StageFailed
from .encode_text import FEATURES_SPEC
from .tensors import read_tensors, tensor_bytes, write_tensors
from .tiny_stage import TinyModelStage
from .tiny_t2v.denoiser import times


class Repair(TinyModelStage):
    """Inputs `features` and the finished `latent`; output `latent`, in which only chunks
    [first, end) differ.

    Before each step the other chunks are set to themselves at that step's noise, as in masked
    inpainting (Lugmayr et al., "RePaint", 2022), so that what is new goes on from them. The
    trajectory holds one digest a step.
    """

    name = "repair"
    version = 2

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Denoises. Raises StageFailed ("bad_input", "bad_params"), StageCancelled."""
        features = read_tensors(inputs["features"], FEATURES_SPEC)["features"]
        known = read_tensors(inputs["latent"], self.latent_spec())["latent"].to(self.model.device)
        held = torch.ones(len(known), 1, 1, 1, dtype=torch.bool, device=known.device)
        held[params.first : params.end] = False
        noise = self.model.init_latent(params.seed)
        cond, at = self.model.condition(features), times(params.steps)
        z = noise
        for i in range(params.steps):
            ctx.progress(i / params.steps, f"step {i + 1} of {params.steps}")
            z = torch.where(held, (1 - at[i]) * noise + at[i] * known, z)
            try:
                z = self.model.denoise(z, cond, i, i + 1, params.steps, params.guidance)
            except tiny_t2v.DenoiseRefused as error:
                raise StageFailed("bad_params", error.message, error.hint) from error
            ctx.step(tensor_bytes(z))
        z = torch.where(held, known, z)
        ctx.progress(1.0)
        return {"latent": write_tensors(ctx.workdir / "latent.safetensors", {"latent": z})}
