"""decode_audio: a clip's latent → its sound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from torch import Tensor

from reelmesh.scheduler.stages.decode_audio import DecodeAudioParams

from .base import StageContext, bad_input
from .ltx2.network import random_latent, read_latent
from .production import LOCAL, ProductionStage, place
from .sounds import RATE, Sound, to_pcm, write_sound

_MISSING_S = 0.1
"""Silence that may be put to the end, in seconds: a latent's last place may not be whole."""


class DecodeAudio(ProductionStage):
    """LTX-2: latent → spectrogram → waves; output `sound`: stereo FLAC of `params.seconds`.

    Both networks are small and compute in float32 on every device. The trajectory holds one digest.
    """

    name = "decode_audio"

    def _load(self, device: torch.device) -> None:
        decoder = AutoencoderKLLTX2Audio.from_pretrained(
            self.folder("audio_vae"), torch_dtype=torch.float32, **LOCAL
        )
        vocoder = LTX2Vocoder.from_pretrained(
            self.folder("vocoder"), torch_dtype=torch.float32, **LOCAL
        )
        if vocoder.config.out_channels not in (1, 2):
            raise ValueError(f"its sound has {vocoder.config.out_channels} channels")
        self._decoder: Any = place(decoder, device)
        self._vocoder: Any = place(vocoder, device)

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Decodes. Raises StageFailed ("bad_input"), StageCancelled."""
        _, audio = read_latent(inputs["latent"], params)
        ctx.progress(0.0, "decoding the sound")
        waves = self._waves(audio.to(self.device))
        if not bool(torch.isfinite(waves).all()):
            raise bad_input("the latent decodes to no sound")
        ctx.check()
        sound = _at_rate(waves, int(self._vocoder.config.output_sampling_rate))
        pcm = to_pcm(_fitted(sound, params.seconds))
        ctx.step(pcm.tobytes())
        path = write_sound(ctx.workdir / "sound.flac", pcm)
        ctx.progress(1.0)
        return {"sound": path}

    def _waves(self, audio: Tensor) -> Tensor:
        """[1, places, channels x bins] → [channels, samples] in -1..1, on the CPU."""
        config = self._decoder.config
        latent = audio * self._decoder.latents_std + self._decoder.latents_mean
        latent = latent.unflatten(2, (config.latent_channels, -1)).transpose(1, 2)
        spectrogram = self._decoder.decode(latent, return_dict=False)[0]
        found: Tensor = self._vocoder(spectrogram)[0]
        return found.float().cpu()

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """Half a second of noise."""
        known = self.installed.model
        frames = 2 * known.frame_stride + 1
        size: dict[str, Any] = {"width": known.stride, "height": known.stride, "frames": frames}
        size["seconds"] = 0.6
        params = DecodeAudioParams(model=known.name, **size)
        return size, {"latent": random_latent(folder / "latent.safetensors", params)}


def _at_rate(waves: Tensor, rate: int) -> Sound:
    """[channels, samples] at `rate` → the same at 48 kHz."""
    layout = ("mono", "stereo")[len(waves) - 1]
    frame: Any = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(waves.numpy(), dtype=np.float32), format="fltp", layout=layout
    )
    frame.sample_rate = rate
    resampler = av.AudioResampler("fltp", layout, RATE)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([one.to_ndarray() for one in parts], axis=1).astype(np.float64)


def _fitted(sound: Sound, seconds: float) -> Sound:
    """Exactly so long, from the start."""
    wanted = round(seconds * RATE)
    missing = wanted - sound.shape[1]
    if missing > _MISSING_S * RATE:
        raise bad_input(f"the sound lasts {sound.shape[1] / RATE:.2f} s, not {seconds:.2f} s")
    return np.pad(sound, ((0, 0), (0, max(0, missing))))[:, :wanted]
