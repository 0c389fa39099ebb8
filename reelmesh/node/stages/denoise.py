"""denoise: a range of denoising steps of a production model.

Euler steps on the straight path from noise to clip, because a range that ends and another machine
that goes on from its safetensors give the very bits of one machine that ran both; a solver that
looks back at earlier steps does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from torch import Tensor

from reelmesh.node.models.checking import read_json
from reelmesh.scheduler.stages.decode_latent import DecodeLatentParams

from .base import StageContext, bad_input
from .encode_first_frame import condition_spec
from .encode_prompt import MAX_TOKENS, TEXT_SPEC
from .production import LOCAL, ProductionStage, place
from .step_cache import step_cache
from .tensors import TensorSpec, exactly, read_tensors, tensor_bytes, write_tensors

_LIMIT = 1e5


def latent_spec(params: Any) -> dict[str, TensorSpec]:
    """What a "latent" artifact of this clip holds: float32 [1, channels, time, height, width]."""
    known = params.known
    time = (params.frames - 1) // known.frame_stride + 1
    sides = (params.height // known.latent_stride, params.width // known.latent_stride)
    spec = exactly(1, known.latent_channels, time, *sides)
    return {"latent": TensorSpec(spec.shape, spec.dtype, limit=_LIMIT)}


class Denoise(ProductionStage):
    """Wan: steps [start, stop) of `steps`, features (and the latent before) → latent.

    A model that begins with a picture takes its `condition` too.

    The trajectory holds one digest a step: of the latent after it and of which passes of the
    network were whole, so that a step that a cache skipped is attested as skipped.
    """

    name = "denoise"

    def _load(self, device: torch.device) -> None:
        network = WanTransformer3DModel.from_pretrained(
            self.folder("transformer"), torch_dtype=self.dtype_on(device), **LOCAL
        )
        self._network: Any = place(network, device)
        path = self.folder("scheduler") / "scheduler_config.json"
        config = read_json(path, Path(path.name))
        self._shift = float(config.get("flow_shift", config.get("shift", 3.0)))

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Denoises. Raises StageFailed ("bad_input"), StageCancelled."""
        given = self._texts(inputs["features"]) | self._first_frame(params, inputs)
        spec = latent_spec(params)
        if params.start == 0:
            latent = _noise(spec["latent"], params.seed)
        else:
            latent = read_tensors(inputs["latent"], spec)["latent"]
        latent = self._steps(latent.to(self.device), given, params, ctx)
        ctx.progress(1.0)
        out = write_tensors(ctx.workdir / "latent.safetensors", {"latent": latent})
        return {"latent": out}

    def _texts(self, path: Path) -> dict[str, Tensor]:
        """Both texts as the network takes them: padded with zeros to its full length."""
        found = read_tensors(path, TEXT_SPEC)
        width = int(self._network.config.text_dim)
        texts = {}
        for name, text in found.items():
            if text.shape[2] != width:
                raise bad_input(f"{name} has {text.shape[2]} features a token, not {width}")
            whole = torch.zeros(1, MAX_TOKENS, width)
            whole[:, : text.shape[1]] = text
            texts[name] = whole.to(self.device, self._network.dtype)
        return texts

    def _first_frame(self, params: Any, inputs: Mapping[str, Path]) -> dict[str, Tensor]:
        """Of a model that begins with a picture: what it is given of it; else nothing."""
        if "condition" not in inputs:
            return {}
        found = read_tensors(inputs["condition"], condition_spec(params))
        width = int(self._network.config.image_dim or 0)
        if found["seen"].shape[2] != width:
            raise bad_input(f"the picture has {found['seen'].shape[2]} features, not {width}")
        return {name: one.to(self.device, self._network.dtype) for name, one in found.items()}

    def _steps(
        self, latent: Tensor, given: Mapping[str, Tensor], params: Any, ctx: StageContext
    ) -> Tensor:
        solver = FlowMatchEulerDiscreteScheduler(shift=self._shift)
        solver.set_timesteps(params.steps, device=self.device)
        solver.set_begin_index(params.start)
        count = params.stop - params.start
        with step_cache(self._network, params) as whole_passes:
            for number in range(params.start, params.stop):
                time = solver.timesteps[number]
                flow = self._flow(latent, time, given, params.guidance)
                latent = solver.step(flow, time, latent, return_dict=False)[0]
                ctx.step(tensor_bytes(latent) + whole_passes())
                done = number + 1 - params.start
                ctx.progress(done / count, f"step {number + 1} of {params.steps}")
        return latent

    def _flow(
        self, latent: Tensor, time: Tensor, given: Mapping[str, Tensor], guidance: float
    ) -> Tensor:
        """Where the clip lies from here, led by the prompt and away from the negative."""
        led = self._pass("prompt", latent, time, given)
        if guidance <= 1:
            return led
        other = self._pass("negative", latent, time, given)
        return other + guidance * (led - other)

    def _pass(self, text: str, latent: Tensor, time: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        seen = latent.to(self._network.dtype)
        if "latent" in given:
            seen = torch.cat([seen, given["latent"]], dim=1)
        with self._network.cache_context(text):
            found: Tensor = self._network(
                hidden_states=seen,
                timestep=time.expand(1),
                encoder_hidden_states=given[text],
                encoder_hidden_states_image=given.get("seen"),
                return_dict=False,
            )[0]
        return found.float()

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """Two steps of a small clip."""
        known = self.installed.model
        width = int(self._network.config.text_dim)
        text = torch.randn(1, 12, width, generator=torch.Generator().manual_seed(1))
        path = folder / "features.safetensors"
        write_tensors(path, {"prompt": text, "negative": text[:, :2].clone()})
        side = 16 * known.stride
        size = {"width": side, "height": side, "frames": 4 * known.frame_stride + 1}
        loop = {"seed": 1, "start": 0, "stop": 2, "steps": 20, "guidance": known.guidance}
        inputs = {"features": path}
        if known.begins_with_picture:
            inputs["condition"] = self._blank(folder, {"model": known.name, **size})
        return {**size, **loop}, inputs

    def _blank(self, folder: Path, clip: dict[str, Any]) -> Path:
        spec = condition_spec(DecodeLatentParams(**clip))["latent"]
        latent = torch.zeros([low for low, _ in spec.shape])
        seen = torch.zeros(1, 9, int(self._network.config.image_dim))
        path = folder / "condition.safetensors"
        return write_tensors(path, {"latent": latent, "seen": seen})


def _noise(spec: TensorSpec, seed: int) -> Tensor:
    """Made on the CPU, so that a seed means the same noise on every device."""
    shape = [low for low, _ in spec.shape]
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
