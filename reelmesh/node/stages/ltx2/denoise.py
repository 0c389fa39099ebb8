"""denoise, LTX-2: a range of the steps that make the clip and its sound, at half the size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reelmesh.node.stages.base import StageContext

from .network import Denoiser, noise, read_latent, write_latent


class Denoise(Denoiser):
    """Steps [start, stop) of `steps`: features (and the latent before) → latent.

    A range that ends and another that goes on from its safetensors give the bits of one that ran
    both.
    """

    name = "denoise"

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Denoises. Raises StageFailed ("bad_input"), StageCancelled."""
        texts = self._texts(inputs["features"])
        pair = noise(params) if params.start == 0 else read_latent(inputs["latent"], params)
        solver = self._shifted(params)
        span = (params.start, params.stop)
        pair = self._steps(pair, solver, span, texts, params, ctx, params.guidance)
        ctx.progress(1.0)
        return {"latent": write_latent(ctx.workdir / "latent.safetensors", pair)}

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """Two steps of a small clip."""
        known = self.installed.model
        side = 8 * known.stride
        size = {"width": side, "height": side, "frames": 2 * known.frame_stride + 1}
        loop = {"seed": 1, "start": 0, "stop": 2, "steps": 20, "guidance": known.guidance}
        return {**size, **loop}, {"features": self.sample_texts(folder)}
