"""upsample_latent: twice the width and height, without leaving the latent space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

from reelmesh.scheduler.stages.upsample_latent import UpsampleLatentParams

from .base import StageContext, bad_input
from .ltx2.network import random_latent, read_latent, write_latent
from .ltx2.scale import Scale
from .production import LOCAL, ProductionStage, place
from .tensors import tensor_bytes


class UpsampleLatent(ProductionStage):
    """LTX-2: the video's latent by its x2 upsampler; the sound's goes through as it is.

    The trajectory holds one digest.
    """

    name = "upsample_latent"

    def _load(self, device: torch.device) -> None:
        upsampler = LTX2LatentUpsamplerModel.from_pretrained(
            self.folder("latent_upsampler"), torch_dtype=self.dtype_on(device), **LOCAL
        )
        self._upsampler: Any = place(upsampler, device)
        # It was taught on latents at the autoencoder's own scale.
        self._scale = Scale.read(self.folder("vae"))

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Doubles. Raises StageFailed ("bad_input"), StageCancelled."""
        video, audio = read_latent(inputs["latent"], params)
        ctx.progress(0.0, "doubling the size")
        given = self._scale.to_autoencoder(video).to(self.device, self._upsampler.dtype)
        large = self._scale.to_denoiser(self._upsampler(given).float().cpu())
        wanted = (*video.shape[:3], 2 * video.shape[3], 2 * video.shape[4])
        if tuple(large.shape) != wanted:
            raise bad_input(f"the latent comes out as {list(large.shape)}")
        ctx.check()
        ctx.step(tensor_bytes(large))
        ctx.progress(1.0)
        return {"latent": write_latent(ctx.workdir / "latent.safetensors", (large, audio))}

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """A small clip of noise."""
        known = self.installed.model
        side = 4 * known.stride
        size = {"width": side, "height": side, "frames": 2 * known.frame_stride + 1}
        params = UpsampleLatentParams(model=known.name, **size)
        return size, {"latent": random_latent(folder / "latent.safetensors", params)}
