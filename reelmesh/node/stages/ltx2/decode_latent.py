"""decode_latent, LTX-2: the clip's latent → its frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video

from reelmesh.node.stages.base import StageContext, bad_input
from reelmesh.node.stages.decode_latent import pictures_of
from reelmesh.node.stages.frames import write_frames
from reelmesh.node.stages.production import LOCAL, ProductionStage, place
from reelmesh.node.stages.tensors import tensor_bytes
from reelmesh.scheduler.stages.decode_latent import DecodeLatentParams

from .network import random_latent, read_latent
from .scale import Scale


class DecodeLatent(ProductionStage):
    """Output `frames`, lossless video of the first `params.keep` pictures, or all.

    Pictures wider or higher than 512 pixels are decoded in tiles, which are blended where they
    meet: a whole one would not fit. The trajectory holds one digest.
    """

    name = "decode_latent"

    def _load(self, device: torch.device) -> None:
        decoder = AutoencoderKLLTX2Video.from_pretrained(
            self.folder("vae"), torch_dtype=self.dtype_on(device), **LOCAL
        )
        if decoder.config.timestep_conditioning:
            raise ValueError("its autoencoder decodes with noise, which is not known here")
        decoder.enable_tiling()
        self._decoder: Any = place(decoder, device)
        self._scale = Scale.of(decoder.latents_mean, decoder.latents_std, decoder.config)

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Decodes. Raises StageFailed ("bad_input"), StageCancelled."""
        video, _ = read_latent(inputs["latent"], params)
        ctx.progress(0.0, "decoding")
        given = self._scale.to_autoencoder(video).to(self.device, self._decoder.dtype)
        pictures = pictures_of(self._decoder.decode(given, None, return_dict=False)[0][0])
        if tuple(pictures.shape) != (params.frames, params.height, params.width, 3):
            raise bad_input(f"the latent decodes to {list(pictures.shape)}")
        ctx.check()
        pictures = pictures[: params.keep or params.frames]
        ctx.step(tensor_bytes(pictures))
        out = write_frames(ctx.workdir / "frames.mkv", pictures.numpy())
        ctx.progress(1.0)
        return {"frames": out}

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """A small clip of noise."""
        known = self.installed.model
        side = 8 * known.stride
        size = {"width": side, "height": side, "frames": known.frame_stride + 1}
        params = DecodeLatentParams(model=known.name, **size)
        return size, {"latent": random_latent(folder / "latent.safetensors", params)}
