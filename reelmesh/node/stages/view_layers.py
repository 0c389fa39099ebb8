"""view_layers: frames and depth → the pictures that a viewer page shows any view from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from .base import ModelFree, StageContext
from .fourd.depth_video import read_depth
from .fourd.fill import fill, fill_plane, local_far
from .frames import FrameWriter, Picture, read_frames
from .media import MAX_FRAMES, MediaLimits

_JUMP = 0.06
"""Disparity: a change by so much from one pixel to the next is an edge of something near."""
_GROWN = 3
"""Pixels around near things that hold some of their colour."""
_RANGE = 200, 28
"""Grey levels that depth takes: video players clip near black and white."""


class ViewLayers(ModelFree):
    """Inputs `frames` and `depth`, output `frames` of twice the width and height.

    Quarters: top left the frame, below it its depth; top right what lies behind near things,
    below it its depth. The trajectory holds one digest a picture.
    """

    name = "view_layers"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Lays apart. Raises StageFailed ("bad_input"), StageCancelled."""
        start, stop = params.start, params.stop
        limits = MediaLimits(MAX_FRAMES, params.width, params.height)
        frames = read_frames(inputs["frames"], limits, start, stop)
        depth = read_depth(inputs["depth"], MAX_FRAMES, params.height, params.width, start, stop)
        path = ctx.workdir / "frames.mkv"
        with FrameWriter(path, 2 * params.width, 2 * params.height) as writer:
            for i, frame in enumerate(frames):
                ctx.progress(i / len(frames), f"frame {start + i + 1}")
                picture = layers(frame, torch.from_numpy(depth[i]))
                ctx.step(picture.tobytes())
                writer.write(picture)
        ctx.progress(1.0)
        return {"frames": path}


def layers(frame: Picture, disparity: Tensor) -> Picture:
    """The four quarters, uint8 [2H, 2W, 3], of a frame and its disparity [H, W] in 0..1."""
    colour = torch.from_numpy(frame).permute(2, 0, 1).float()
    near = _near(disparity)
    behind = fill_plane(disparity, ~near)
    hidden = fill(colour, torch.where(near, behind, disparity), ~near)
    top = torch.cat([colour, hidden], 2)
    below = torch.cat([disparity, behind], 1) * _RANGE[0] + _RANGE[1]
    whole = torch.cat([top, below.expand(3, *below.shape)], 1)
    out = whole.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return out.numpy()


def _near(disparity: Tensor) -> Tensor:
    """What a moved camera looks behind: bool [H, W], the near side of jumps, as far as it matters.

    A slope has no jumps, however long it is, and stays whole.
    """
    high = max_pool2d(disparity[None], 3, stride=1, padding=1)[0]
    low = -max_pool2d(-disparity[None], 3, stride=1, padding=1)[0]
    jump = high - low > _JUMP
    far = local_far(torch.where(jump, low, disparity), jump)
    near = disparity - far > _JUMP / 2
    side = 2 * _GROWN + 1
    return max_pool2d(near.float()[None], side, stride=1, padding=_GROWN)[0] > 0.5
