"""Filling holes: from other times first, then from around, farther things before nearer ones.

Pictures are float32 [3, H, W] in 0..255 here, planes [H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

_NEARER = 9.0
"""How decidedly, per unit of disparity, the far side of a hole is taken to go on behind it."""
_NEIGHBOURHOOD = 17
"""In steps of four pixels."""
_SEAM = 1
"""Pixels next to a hole hold some of the near thing's colour, and are not filled from."""
_LEAST = 0.02


def fill(colour: Tensor, disparity: Tensor, known: Tensor) -> Tensor:
    """The picture [3, H, W] with what is not `known` [H, W] filled from the far side around it."""
    trusted = erode(known, _SEAM)
    far = local_far(disparity, trusted)
    weight = trusted.float() * torch.exp(-_NEARER * (disparity - far).clamp(min=0)) + 1e-9
    around = push_pull(torch.cat([colour, disparity[None]]), weight.clamp(max=1))
    return torch.where(known, colour, around[:3])


def fill_plane(plane: Tensor, known: Tensor) -> Tensor:
    """A disparity [H, W] with what is not known filled from the far side around it."""
    trusted = erode(known, _SEAM)
    far = local_far(plane, trusted)
    weight = trusted.float() * torch.exp(-_NEARER * (plane - far).clamp(min=0)) + 1e-9
    return torch.where(trusted, plane, push_pull(plane[None], weight)[0])


def local_far(disparity: Tensor, known: Tensor) -> Tensor:
    """The least known disparity in each pixel's neighbourhood; the pixel's own where none is."""
    height, width = disparity.shape
    shut = torch.where(known, -disparity, torch.tensor(-2.0))
    # At a quarter of the size: as exact as it needs to be, and much quicker.
    small = max_pool2d(shut[None, None], 4, ceil_mode=True)
    side, half = _NEIGHBOURHOOD, _NEIGHBOURHOOD // 2
    small = max_pool2d(small, (1, side), stride=1, padding=(0, half))
    small = max_pool2d(small, (side, 1), stride=1, padding=(half, 0))
    far = -interpolate(small, scale_factor=4, mode="nearest")[0, 0, :height, :width]
    return torch.where(far > 1.5, disparity, far)


def push_pull(picture: Tensor, weight: Tensor) -> Tensor:
    """Multi-scale diffusion (Gortler et al. 1996): [C, H, W], each level filled by the coarser.

    weight: [H, W] in 0..1, how far each pixel is known.
    """
    height, width = weight.shape
    if max(height, width) <= 2:
        mean = (picture * weight).sum((1, 2), keepdim=True) / weight.sum().clamp(min=1e-9)
        return picture * weight + mean * (1 - weight)
    padded = _even(picture * weight), _even(weight[None])
    total, share = (avg_pool2d(plane[None], 2)[0] for plane in padded)
    # Pixels that are hardly trusted stay so, however many there are of them.
    trust = torch.where(share[0] > _LEAST, (share[0] * 4).clamp(max=1), share[0])
    below = push_pull(total / share.clamp(min=1e-9), trust)
    wide = interpolate(below[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return picture * weight + wide[:, :height, :width] * (1 - weight)


def erode(known: Tensor, pixels: int) -> Tensor:
    """`known` [H, W] without what is within some pixels of the unknown; the border is no edge."""
    unknown = (~known).float()[None]
    return max_pool2d(unknown, 2 * pixels + 1, stride=1, padding=pixels)[0] < 0.5


def blur(planes: Tensor, radius: int) -> Tensor:
    """[C, H, W] averaged over squares, twice."""
    for _ in range(2):
        planes = avg_pool2d(
            planes, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False
        )
    return planes


def _even(planes: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    return torch.nn.functional.pad(planes, (0, width % 2, 0, height % 2))
