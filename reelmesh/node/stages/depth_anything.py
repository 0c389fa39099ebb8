"""depth by Depth Anything: frames → how near each pixel is, on one scale for the clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import DepthAnythingForDepthEstimation

from reelmesh.node.models.checking import read_json
from reelmesh.scheduler.stages.depth import anchors

from .base import StageContext
from .fourd.depth_video import write_depth
from .frames import Picture, Pictures, read_frames, write_frames
from .media import MAX_FRAMES, MediaLimits
from .production import LOCAL, ProductionStage, channels, place
from .tensors import tensor_bytes

_MOST_SIDE = 1036  # pixels; what a configuration may ask of the shorter side, and a picture's limit
_FAR, _NEAR = 0.02, 0.98
_LOW, _SPAN = 0.25, 0.5
"""The clip's _FAR and _NEAR quantiles are stored as _LOW and _LOW + _SPAN. What other frames have
beyond them finds room on either side."""


class DepthAnything(ProductionStage):
    """Frames [start, stop) of `frames` → "depth" of the same size.

    The model's numbers are disparity up to a scale and shift; both are taken from frames spread
    over the whole clip, so that all runs of a clip have the same. The trajectory holds one digest a
    frame: of the model's own numbers.
    """

    name = "depth"

    def _load(self, device: torch.device) -> None:
        folder = self.folder(".")
        loaded: Any = DepthAnythingForDepthEstimation.from_pretrained(
            folder, dtype=self.dtype_on(device), output_loading_info=True, **LOCAL
        )
        network, told = loaded
        # What the files lack would be left random, without a word.
        lacking = [*told["missing_keys"], *told["mismatched_keys"]]
        if lacking:
            raise ValueError(f"its weights lack {lacking[0]}")
        self._network: Any = place(network, device)
        path = folder / "preprocessor_config.json"
        config = read_json(path, Path(path.name))
        self._side = int(config["size"]["height"])
        self._patch = int(self._network.config.patch_size)
        if not 0 < self._patch <= self._side <= _MOST_SIDE:
            raise ValueError(f"it wants pictures of {self._side} pixels")
        mean, std = (
            channels(config[name])[..., 0].to(device) for name in ("image_mean", "image_std")
        )
        self._mean, self._std = mean, std

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Estimates. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(MAX_FRAMES, params.width, params.height)
        ctx.progress(0.0, "looking at the whole clip")
        spread = [
            self.estimate(read_frames(inputs["frames"], limits, at, at + 1)[0])
            for at in anchors(params.total)
        ]
        low, high = scale_of(spread)
        source = read_frames(inputs["frames"], limits, params.start, params.stop)
        stored = np.empty(source.shape[:3], np.float32)
        for done, picture in enumerate(source):
            ctx.progress((done + 1) / (len(source) + 1), f"frame {params.start + done + 1}")
            plane = self.estimate(picture)
            ctx.step(tensor_bytes(plane))
            stored[done] = (plane.numpy() - low) / (high - low) * _SPAN + _LOW
        out = write_depth(ctx.workdir / "depth.mkv", stored.clip(0, 1))
        ctx.progress(1.0)
        return {"depth": out}

    @torch.no_grad()
    def estimate(self, picture: Picture) -> Tensor:
        """Disparity float32 [H, W] of a uint8 [H, W, 3] picture, on the CPU; larger is nearer."""
        size = seen_size(picture.shape[0], picture.shape[1], self._side, self._patch)
        x = torch.from_numpy(picture).to(self._mean.device).permute(2, 0, 1)[None].float() / 255
        x = interpolate(x, size=size, mode="bicubic", align_corners=False, antialias=True)
        x = (x.clamp(0, 1) - self._mean) / self._std
        plane = self._network(pixel_values=x.to(self._network.dtype)).predicted_depth
        whole = interpolate(
            plane[:, None].float(), size=picture.shape[:2], mode="bilinear", align_corners=False
        )
        return torch.nan_to_num(whole[0, 0]).cpu()

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """Four frames of a small clip, with the frames that tell its scale."""
        steep = np.add.outer(np.arange(256), np.arange(256)) // 2
        clip: Pictures = np.stack([np.dstack([steep, steep[::-1], steep.T])] * 4).astype(np.uint8)
        run = {"start": 0, "stop": 4, "total": 4, "width": 256, "height": 256}
        return run, {"frames": write_frames(folder / "frames.mkv", clip)}


def scale_of(planes: Sequence[Tensor]) -> tuple[float, float]:
    """Disparity of what is far and of what is near in a clip, from planes [H, W] of some frames."""
    values = torch.stack([plane[::4, ::4] for plane in planes]).numpy()
    low, high = (float(value) for value in np.quantile(values, [_FAR, _NEAR]))
    return low, max(high, low + 1e-6 + 1e-4 * abs(low))


def seen_size(height: int, width: int, side: int, patch: int) -> tuple[int, int]:
    """What the network sees of a picture: (height, width), whole patches.

    The side that is nearer to `side` becomes it, as the model's own processor has it, as long as
    the other stays within bounds.
    """
    scale = min(side / height, side / width, key=lambda part: abs(1 - part))
    scale = min(scale, _MOST_SIDE / max(height, width))
    tall, wide = (max(1, round(scale * n / patch)) * patch for n in (height, width))
    return tall, wide
