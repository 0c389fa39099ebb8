"""encode_frames: a clip's frames → the latent that a production model has of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKLLTX2Video

from reelmesh.scheduler.models import MAX_SIDE

from .base import StageContext, bad_input, one_thread_opencv
from .frames import Picture, Pictures, iter_frames, write_frames
from .ltx2.scale import Scale
from .media import MediaLimits
from .production import LOCAL, ProductionStage, place
from .tensors import tensor_bytes, write_tensors


class EncodeFrames(ProductionStage):
    """LTX-2: output `latent`, of the pictures alone: `video` float32 [1, channels, time, height,
    width], as the denoiser has it.

    The pictures are resized whole, and the nearest in time is taken at each of the model's moments.
    What is encoded is the middle of what the autoencoder tells, no draw from it. The trajectory
    holds one digest.
    """

    name = "encode_frames"

    def _load(self, device: torch.device) -> None:
        coder = AutoencoderKLLTX2Video.from_pretrained(
            self.folder("vae"), torch_dtype=self.dtype_on(device), **LOCAL
        )
        coder.enable_tiling()
        self._coder: Any = place(coder, device)
        self._scale = Scale.read(self.folder("vae"))

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Encodes. Raises StageFailed ("bad_input"), StageCancelled."""
        ctx.progress(0.0, "looking at the frames")
        pictures = at_moments(inputs["frames"], params, ctx)
        ctx.progress(0.3, "encoding")
        given = torch.from_numpy(pictures).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        given = given.to(self.device, self._coder.dtype)
        code = self._coder.encode(given).latent_dist.mode().float().cpu()
        video = self._scale.to_denoiser(code)
        ctx.check()
        ctx.step(tensor_bytes(video))
        out = write_tensors(ctx.workdir / "latent.safetensors", {"video": video})
        ctx.progress(1.0)
        return {"latent": out}

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """A small clip of steep colours."""
        known = self.installed.model
        side, frames = 8 * known.stride, 2 * known.frame_stride + 1
        steep = np.linspace(0, 255, 64, dtype=np.uint8)
        picture = np.dstack([np.add.outer(steep, n * steep) for n in (1, 2, 3)])
        path = write_frames(folder / "frames.mkv", np.stack([picture] * 4))
        size = {"width": side, "height": side, "frames": frames}
        return {**size, "count": 4, "fps": known.fps, "total": frames}, {"frames": path}


def at_moments(path: Path, params: Any, ctx: StageContext) -> Pictures:
    """uint8 [frames, height, width, 3]: what is seen at each of the model's moments.

    Frames come in one by one, and only what is wanted is kept, at its small size.

    Raises:
        StageFailed: "bad_input": no such file, or not `params.count` pictures in it.
    """
    wanted = [params.source(number) for number in range(params.frames)]
    seen: dict[int, Picture] = {}
    count, limits = 0, MediaLimits(params.count, side=MAX_SIDE)
    with one_thread_opencv():
        for number, picture in enumerate(iter_frames(path, limits)):
            ctx.check()
            count = number + 1
            if number in wanted:
                seen[number] = _resized(picture, params.width, params.height)
    if count != params.count:
        raise bad_input(f"there are {count} pictures, not {params.count}")
    return np.stack([seen[number] for number in wanted])


def _resized(picture: Picture, width: int, height: int) -> Picture:
    """Not cropped: what makes a sound may be at the border."""
    how = cv2.INTER_AREA if width * height < picture.size // 3 else cv2.INTER_CUBIC
    out: Any = cv2.resize(picture, (width, height), interpolation=how)
    return np.ascontiguousarray(out, dtype=np.uint8)
