"""What other frames of the footage show at a place that this one hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .fill import blur, erode
from .geometry import depth_of, disparity_of, pixel_rays, project

_NOTHING = torch.iinfo(torch.int64).max
_FITS = 16.0
"""Grey levels: where another frame differs by more from what both show, it is another scene."""
_BEHIND = 0.12
"""Disparity: what fills a hole may be so much nearer than what is taken to lie behind it."""
_AROUND = 8


@dataclass(frozen=True)
class Frame:
    """A frame of the footage: colour float32 [3, H, W] in 0..255, disparity float32 [H, W]."""

    colour: Tensor
    disparity: Tensor


def splat(frame: Frame, pose: Sequence[float], margin: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A frame's pixels as points, seen from a pose: colour [3, H, W], disparity, known [H, W].

    The nearest point of a pixel wins, and of equals the first: the order does not matter.

    Args:
        margin: pixels that the frame goes on, mirrored, beyond each of its borders.
    """
    height, width = frame.disparity.shape
    rows, columns = torch.arange(-margin, height + margin), torch.arange(-margin, width + margin)
    ys, xs = torch.meshgrid(rows, columns, indexing="ij")
    if margin:
        frame = Frame(_mirrored(frame.colour, margin), _mirrored(frame.disparity[None], margin)[0])
    rays = pixel_rays(height, width, xs.double() + 0.5, ys.double() + 0.5)
    points = (rays * depth_of(frame.disparity.double())[..., None]).view(-1, 3)
    x, y, z = project(points, pose, height, width).unbind(1)
    column, row = x.floor().long(), y.floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (z > 0.05)
    point = torch.nonzero(inside)[:, 0]
    packed = ((z[point] * 2**24).long() << 32) | point
    best = torch.full((height * width,), _NOTHING)
    best.scatter_reduce_(0, row[point] * width + column[point], packed, "amin")
    known = best != _NOTHING
    source = torch.where(known, best & 0xFFFFFFFF, 0)
    colour = frame.colour.reshape(3, -1)[:, source].view(3, height, width)
    disparity = disparity_of(points[source, 2]).float().view(height, width)
    return colour, disparity, known.view(height, width)


def beyond(own: Frame, behind: Tensor, pose: Sequence[float]) -> tuple[Tensor, Tensor]:
    """What a frame would show beyond its borders, were it mirrored there: as `take_from`."""
    margin = min(own.disparity.shape) // 3
    colour, disparity, known = splat(own, pose, margin)
    return colour, known & (disparity < behind + _BEHIND)


def _mirrored(planes: Tensor, margin: int) -> Tensor:
    return torch.nn.functional.pad(planes[None], [margin] * 4, mode="reflect")[0]


def take_from(
    own: Frame, seen: Tensor, behind: Tensor, other: Frame, pose: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """What another frame has for the holes of a view: colour [3, H, W], and where it may be used.

    own: the view; seen: where it is known, [H, W]. behind: disparity that is taken to lie there.
    """
    colour, disparity, known = splat(other, pose)
    both = seen & known
    # Edges never match to the pixel: slightly blurred pictures are compared.
    gap = (blur(own.colour * both, 1) - blur(colour * both, 1)).abs().mean(0)
    near = blur(torch.stack([gap * both, both.float()]), _AROUND)
    fits = (near[0] / near[1].clamp(min=1e-3) < _FITS) & (near[1] > 0.02)
    usable = known & fits & ~seen & (disparity < behind + _BEHIND)
    return colour, usable & (erode(known, 1) | ~erode(seen, 2))
