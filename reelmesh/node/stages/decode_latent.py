"""decode_latent: a production model's finished latent → frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from .base import StageContext, bad_input
from .denoise import latent_spec
from .frames import write_frames
from .production import LOCAL, ProductionStage, channels, place
from .tensors import read_tensors, tensor_bytes, write_tensors


class DecodeLatent(ProductionStage):
    """Wan: output `frames`, lossless video of `params.frames` pictures, or the first `params.keep`.

    The autoencoder computes in float32 on every device, as its makers advise.
    """

    name = "decode_latent"

    def _load(self, device: torch.device) -> None:
        decoder = AutoencoderKLWan.from_pretrained(
            self.folder("vae"), torch_dtype=torch.float32, **LOCAL
        )
        self._decoder: Any = place(decoder, device)

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Decodes. Raises StageFailed ("bad_input"), StageCancelled."""
        latent = read_tensors(inputs["latent"], latent_spec(params))["latent"]
        ctx.progress(0.0, "decoding")
        config = self._decoder.config
        mean, std = (channels(config[name]) for name in ("latents_mean", "latents_std"))
        video = self._decoder.decode((latent * std + mean).to(self.device), return_dict=False)[0]
        pictures = pictures_of(video[0])
        if tuple(pictures.shape) != (params.frames, params.height, params.width, 3):
            raise bad_input(f"the latent decodes to {list(pictures.shape)}")
        ctx.check()
        ctx.step(tensor_bytes(pictures))
        pictures = pictures[: params.keep or params.frames]
        out = write_frames(ctx.workdir / "frames.mkv", pictures.numpy())
        ctx.progress(1.0)
        return {"frames": out}

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """A small clip of noise."""
        known = self.installed.model
        side, time = 16 * known.stride, 2
        generator = torch.Generator().manual_seed(1)
        places = side // known.latent_stride
        latent = torch.randn(1, known.latent_channels, time, places, places, generator=generator)
        path = write_tensors(folder / "latent.safetensors", {"latent": latent})
        size = {"width": side, "height": side, "frames": (time - 1) * known.frame_stride + 1}
        return size, {"latent": path}


def pictures_of(video: Tensor) -> Tensor:
    """[3, T, H, W] in -1..1 → uint8 [T, H, W, 3] on the CPU."""
    whole = (video.float().clamp(-1, 1) + 1) * 127.5
    return whole.round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu()
