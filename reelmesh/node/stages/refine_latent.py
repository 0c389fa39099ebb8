"""refine_latent: noise is mixed into an upsampled latent and taken out again as fine detail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_pipeline import LTX2LoraLoaderMixin
from diffusers.pipelines.ltx2.utils import STAGE_2_DISTILLED_SIGMA_VALUES as SIGMAS
from safetensors.torch import load_file

from reelmesh.scheduler.stages.refine_latent import RefineLatentParams

from .base import StageContext
from .ltx2.network import Denoiser, noise, random_latent, read_latent, write_latent

_WHERE = "transformer."


class RefineLatent(Denoiser):
    """LTX-2: features and a doubled latent → the latent, by the network as distilled by its makers.

    What they distilled is a difference of low rank to the denoiser's weights; it is added to them
    as they are loaded. It needs no guidance, and few steps.
    """

    name = "refine_latent"

    def _taught(self, network: Any) -> Any:
        (name,) = (one for one in self.installed.model.folders[self.name] if "." in one)
        raw = load_file(self.folder(name))
        found: Any = LTX2LoraLoaderMixin.lora_state_dict(raw)
        downs = [key for key in found if key.endswith(".lora_A.weight")]
        if not downs:
            raise ValueError(f"{name} holds no difference of low rank")
        for key in downs:
            module = key.removesuffix(".lora_A.weight")
            weight = network.get_parameter(f"{module.removeprefix(_WHERE)}.weight")
            down, up = (
                one.to(weight.device, torch.float32)
                for one in (found[key], found[f"{module}.lora_B.weight"])
            )
            scale = float(found.get(f"{module}.alpha", len(down))) / len(down)
            weight.data += (scale * up @ down).to(weight.dtype)
        return network

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Refines. Raises StageFailed ("bad_input"), StageCancelled."""
        texts = self._texts(inputs["features"])
        clean = read_latent(inputs["latent"], params)
        solver = self._solver(use_dynamic_shifting=False, shift_terminal=None)
        solver.set_timesteps(sigmas=SIGMAS, device=self.device)
        much = SIGMAS[0]
        video, audio = (
            much * new + (1 - much) * old for new, old in zip(noise(params), clean, strict=True)
        )
        pair = self._steps((video, audio), solver, (0, len(SIGMAS)), texts, params, ctx)
        ctx.progress(1.0)
        return {"latent": write_latent(ctx.workdir / "latent.safetensors", pair)}

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """A small clip of noise."""
        known = self.installed.model
        side = 8 * known.stride
        size = {"width": side, "height": side, "frames": 2 * known.frame_stride + 1, "seed": 1}
        params = RefineLatentParams(model=known.name, **size)
        latent = random_latent(folder / "latent.safetensors", params)
        return size, {"features": self.sample_texts(folder), "latent": latent}
