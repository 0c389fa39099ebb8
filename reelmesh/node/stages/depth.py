"""depth: frames → how near each pixel is, by the embedded network, each frame by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from .base import NO_MODEL, StageContext, model_id
from .depth_net import DepthNet, load_network, weights_hash
from .fourd.depth_video import write_depth
from .frames import Picture, read_frames
from .media import MAX_FRAMES, MediaLimits
from .tensors import tensor_bytes

WORK = 160
"""The side of the square that the network sees: it learned at 128, and is a little finer here."""
_EPSILON = 4e-4
_LOW, _SPAN = -0.25, 1.75
"""The network's values are kept from _LOW to _LOW + _SPAN; steady_depth brings them to 0..1."""


class Depth:
    """Frames [start, stop) of `frames` → "depth" of the same size, not yet on the clip's scale.

    The trajectory holds one digest a frame.
    """

    name = "depth"
    version = 1

    def __init__(self) -> None:
        self.model_hash = NO_MODEL
        self._network: DepthNet | None = None

    def load(self, device: torch.device) -> None:
        """Makes the network resident. Raises WeightsDamaged."""
        if self._network is None:
            self._network = load_network(device)
            self.model_hash = model_id(weights_hash(), "float32")

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Estimates. Raises StageFailed ("bad_input"), StageCancelled."""
        if self._network is None:
            raise RuntimeError("load() was not called")
        limits = MediaLimits(MAX_FRAMES, params.width, params.height)
        source = read_frames(inputs["frames"], limits, params.start, params.stop)
        planes = []
        for done, picture in enumerate(source):
            ctx.progress(done / len(source), f"frame {params.start + done + 1}")
            plane = estimate(self._network, picture)
            ctx.step(tensor_bytes(plane))
            planes.append(plane.numpy())
        stored = (np.stack(planes) - _LOW) / _SPAN
        out = write_depth(ctx.workdir / "depth.mkv", stored.clip(0, 1))
        ctx.progress(1.0)
        return {"depth": out}


@torch.no_grad()
def estimate(network: DepthNet, picture: Picture) -> Tensor:
    """Disparity float32 [H, W] of a uint8 [H, W, 3] picture, on the CPU.

    The mean of what the network says of the picture and of its mirror image, brought to the
    picture's size along the picture's own edges.
    """
    device = next(network.parameters()).device
    x = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255
    small = interpolate(x, size=(WORK, WORK), mode="area")
    both = network(torch.cat([small, small.flip(-1)]))
    plane = (both[:1] + both[1:].flip(-1)) / 2
    return guided(plane[:, None], small, x)[0, 0].cpu()


def guided(plane: Tensor, small: Tensor, picture: Tensor) -> Tensor:
    """A plane [1, 1, h, w] at a larger size, its edges on those of the picture [1, 3, H, W].

    small: the picture at the plane's size. The fast guided filter (He & Sun 2015), with grey as
    guide: within a neighbourhood the plane is a line over brightness.
    """
    guide, large = small.mean(1, keepdim=True), picture.mean(1, keepdim=True)
    radius = max(2, plane.shape[-1] // 40)
    mean_g, mean_p = _box(guide, radius), _box(plane, radius)
    spread = _box(guide * guide, radius) - mean_g * mean_g
    both = _box(guide * plane, radius) - mean_g * mean_p
    slope = both / (spread + _EPSILON)
    offset = mean_p - slope * mean_g
    size = picture.shape[-2:]
    slope, offset = (
        interpolate(_box(t, radius), size=size, mode="bilinear", align_corners=False)
        for t in (slope, offset)
    )
    return slope * large + offset


def _box(plane: Tensor, radius: int) -> Tensor:
    out: Tensor = avg_pool2d(
        plane, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False
    )
    return out
