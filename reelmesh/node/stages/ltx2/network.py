"""The denoiser that video and sound share, its steps, and the artifacts that it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2VideoTransformer3DModel
from torch import Tensor

from reelmesh.node.models.checking import read_json
from reelmesh.node.stages.base import StageContext, bad_input
from reelmesh.node.stages.production import LOCAL, ProductionStage, place
from reelmesh.node.stages.tensors import (
    TensorSpec,
    exactly,
    read_tensors,
    tensor_bytes,
    write_tensors,
)

TEXT_TOKENS = 1024
_MAX_WIDTH = 8192
_LIMIT = 1e5
_TEXT = TensorSpec([(1, 1), (TEXT_TOKENS, TEXT_TOKENS), (1, _MAX_WIDTH)], torch.float32, limit=1e6)

#: What `encode_prompt` writes: of each text, what the video's and what the sound's half reads.
TEXT_SPEC = {
    f"{text}_{half}": _TEXT for text in ("prompt", "negative") for half in ("video", "audio")
}

Pair = tuple[Tensor, Tensor]
"""Video [1, channels, time, height, width] and sound [1, places, features]."""


def latent_spec(params: Any) -> dict[str, TensorSpec]:
    """What a "latent" artifact of this clip holds."""
    known = params.known
    time = (params.frames - 1) // known.frame_stride + 1
    sides = (params.height // known.latent_stride, params.width // known.latent_stride)
    video = exactly(1, known.latent_channels, time, *sides)
    audio = exactly(1, params.audio_places, known.audio_width)
    return {
        name: TensorSpec(one.shape, one.dtype, limit=_LIMIT)
        for name, one in (("video", video), ("audio", audio))
    }


def read_latent(path: Path, params: Any) -> Pair:
    """Both halves, on the CPU. Raises StageFailed ("bad_input")."""
    found = read_tensors(path, latent_spec(params))
    return found["video"], found["audio"]


def read_clip(path: Path, params: Any) -> Tensor:
    """The picture alone, as `encode_frames` writes it, on the CPU: float32 [1, channels, time,
    height, width]. Raises StageFailed ("bad_input").
    """
    return read_tensors(path, {"video": latent_spec(params)["video"]})["video"]


def write_latent(path: Path, pair: Pair) -> Path:
    """Writes both halves."""
    return write_tensors(path, {"video": pair[0], "audio": pair[1]})


def noise(params: Any) -> Pair:
    """Made on the CPU, so that a seed means the same noise on every device."""
    generator = torch.Generator().manual_seed(params.seed)
    shapes = [[low for low, _ in one.shape] for one in latent_spec(params).values()]
    video, audio = (torch.randn(shape, generator=generator) for shape in shapes)
    return video, audio


def random_latent(path: Path, params: Any) -> Path:
    """A latent of noise, to measure a run with."""
    generator = torch.Generator().manual_seed(1)
    spec = latent_spec(params)
    return write_tensors(
        path,
        {n: torch.randn([low for low, _ in s.shape], generator=generator) for n, s in spec.items()},
    )


def random_clip(path: Path, params: Any) -> Path:
    """A clip's picture of noise, to measure a run with."""
    return write_tensors(path, {"video": noise(params)[0]})


class Denoiser(ProductionStage):
    """What the stages share that run the network.

    holds_video: the picture is given and stays as it is; only the sound is made.
    """

    holds_video: ClassVar[bool] = False

    def _load(self, device: torch.device) -> None:
        network = LTX2VideoTransformer3DModel.from_pretrained(
            self.folder("transformer"), torch_dtype=self.dtype_on(device), **LOCAL
        )
        self._network: Any = self._taught(place(network, device))
        path = self.folder("scheduler") / "scheduler_config.json"
        self._schedule = {
            key: value
            for key, value in read_json(path, Path(path.name)).items()
            if not key.startswith("_")
        }

    def _taught(self, network: Any) -> Any:
        """The network with what else it needs to know."""
        return network

    def _solver(self, **changed: Any) -> FlowMatchEulerDiscreteScheduler:
        return FlowMatchEulerDiscreteScheduler(**{**self._schedule, **changed})

    def _shifted(self, params: Any) -> Any:
        """The more tokens there are, the longer the steps stay with much noise."""
        solver = self._solver()
        config = solver.config
        low, high = config["base_image_seq_len"], config["max_image_seq_len"]
        slope = (config["max_shift"] - config["base_shift"]) / (high - low)
        places = int(np.prod([least for least, _ in latent_spec(params)["video"].shape[2:]]))
        solver.set_timesteps(
            sigmas=np.linspace(1.0, 1 / params.steps, params.steps),
            mu=config["base_shift"] + slope * (places - low),
            device=self.device,
        )
        return solver

    def _texts(self, path: Path) -> dict[str, Tensor]:
        found = read_tensors(path, TEXT_SPEC)
        width = int(self._network.config.caption_channels)
        for name, text in found.items():
            if text.shape[2] != width:
                raise bad_input(f"{name} has {text.shape[2]} features a token, not {width}")
        return {name: one.to(self.device, self._network.dtype) for name, one in found.items()}

    def _steps(
        self,
        pair: Pair,
        solver: Any,
        span: tuple[int, int],
        texts: Mapping[str, Tensor],
        params: Any,
        ctx: StageContext,
        guidance: float = 1.0,
    ) -> Pair:
        """Euler steps [start, stop) along the straight path from noise to clip.

        The trajectory holds one digest a step, of both latents after it.
        """
        start, stop = span
        video, audio = (one.to(self.device) for one in pair)
        for number in range(start, stop):
            size = solver.sigmas[number + 1] - solver.sigmas[number]
            times = self._times(solver.timesteps[number])
            flows = self._flow((video, audio), times, texts, params, guidance)
            video = video if self.holds_video else video + size * flows[0]
            audio = audio + size * flows[1]
            ctx.step(tensor_bytes(video) + tensor_bytes(audio))
            ctx.progress((number + 1 - start) / (stop - start), f"step {number + 1}")
        return video, audio

    def _times(self, time: Tensor) -> Pair:
        """When the picture and when the sound is: what is given has no noise left, at time 0."""
        return torch.zeros_like(time) if self.holds_video else time, time

    def _flow(
        self, pair: Pair, times: Pair, texts: Mapping[str, Tensor], params: Any, guidance: float
    ) -> Pair:
        led = self._pass("prompt", pair, times, texts, params)
        if guidance <= 1:
            return led
        other = self._pass("negative", pair, times, texts, params)
        video, audio = (o + guidance * (to - o) for to, o in zip(led, other, strict=True))
        return video, audio

    def _pass(
        self, text: str, pair: Pair, times: Pair, texts: Mapping[str, Tensor], params: Any
    ) -> Pair:
        video, audio = pair
        # One time for all tokens of a half, which the network sets against each of them.
        video_time, audio_time = (time.expand(1) for time in times)
        frames, height, width = video.shape[2:]
        dtype = self._network.dtype
        # Every place is one token: [1, channels, time, height, width] → [1, places, channels].
        flows: Sequence[Tensor] = self._network(
            hidden_states=video.flatten(2).transpose(1, 2).to(dtype),
            audio_hidden_states=audio.to(dtype),
            encoder_hidden_states=texts[f"{text}_video"],
            audio_encoder_hidden_states=texts[f"{text}_audio"],
            timestep=video_time,
            audio_timestep=audio_time,
            sigma=video_time,
            audio_sigma=audio_time,
            num_frames=frames,
            height=height,
            width=width,
            fps=float(params.known.fps),
            audio_num_frames=audio.shape[1],
            return_dict=False,
        )
        flow = flows[0].float().transpose(1, 2).reshape(video.shape)
        return flow, flows[1].float()

    def sample_texts(self, folder: Path) -> Path:
        """Features of noise, to measure a run with."""
        generator = torch.Generator().manual_seed(1)
        shape = (1, TEXT_TOKENS, int(self._network.config.caption_channels))
        tensors = {name: torch.randn(shape, generator=generator) for name in TEXT_SPEC}
        return write_tensors(folder / "features.safetensors", tensors)
