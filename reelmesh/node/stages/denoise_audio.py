"""denoise_audio: a range of the steps that make a sound for pictures that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reelmesh.scheduler.stages.denoise_audio import DenoiseAudioParams

from .base import StageContext, bad_input
from .ltx2.network import Denoiser, noise, random_clip, read_clip, read_latent, write_latent


class DenoiseAudio(Denoiser):
    """LTX-2: steps [start, stop) of `steps`; features and clip (and the latent before) → latent.

    The network denoises video and sound together, each with a time of its own. Here the video is
    the clip, clean and at time 0 in every pass, as it holds the first frame when a picture is
    given; only the sound goes from noise to the end. What comes out holds both, the clip bit for
    bit.

    A range that ends and another that goes on from its safetensors give the bits of one that ran
    both. The trajectory holds one digest a step.
    """

    name = "denoise_audio"
    holds_video = True

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Denoises. Raises StageFailed ("bad_input"), StageCancelled."""
        texts = self._texts(inputs["features"])
        video = read_clip(inputs["clip"], params)
        if params.start == 0:
            _, audio = noise(params)
        else:
            before, audio = read_latent(inputs["latent"], params)
            if not torch.equal(before, video):
                raise bad_input("the latent before is of another clip")
        span = (params.start, params.stop)
        pair = self._steps(
            (video, audio), self._shifted(params), span, texts, params, ctx, params.guidance
        )
        ctx.progress(1.0)
        return {"latent": write_latent(ctx.workdir / "latent.safetensors", pair)}

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """Two steps for a small clip."""
        known = self.installed.model
        side = 8 * known.stride
        fields: dict[str, Any] = {"width": side, "height": side}
        fields |= {"frames": 2 * known.frame_stride + 1}
        fields |= {"seed": 1, "start": 0, "stop": 2, "steps": 20, "guidance": known.guidance}
        params = DenoiseAudioParams(model=known.name, **fields)
        clip = random_clip(folder / "clip.safetensors", params)
        return fields, {"features": self.sample_texts(folder), "clip": clip}
