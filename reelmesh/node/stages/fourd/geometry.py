"""Disparity, depth, and cameras: how a pixel becomes a point and a point a pixel.

Everything is float64: a point that two faces share must fall on the same place for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from reelmesh.scheduler.camera import SOURCE_FOV

NEAR, FAR = 0.8, 1.7
"""Depth of disparity 1 and of disparity 0, in distances of the scene's middle."""
BEHIND = 2.0
"""Depth of the surface that closes the mesh behind everything."""


def depth_of(disparity: Tensor) -> Tensor:
    """z of disparity 0..1: 1/z goes evenly from 1/FAR to 1/NEAR."""
    return 1 / (disparity * (1 / NEAR - 1 / FAR) + 1 / FAR)


def disparity_of(depth: Tensor) -> Tensor:
    """The inverse of `depth_of`."""
    return (1 / depth - 1 / FAR) / (1 / NEAR - 1 / FAR)


def focal(fov: float, height: int, width: int) -> float:
    """Focal length in pixels of a picture whose longer side spans `fov` degrees."""
    return max(height, width) / 2 / math.tan(math.radians(fov) / 2)


def pixel_rays(height: int, width: int, xs: Tensor, ys: Tensor) -> Tensor:
    """Points at z = 1 that the footage's camera sees at pixel places xs, ys: [..., 3].

    A pixel's centre is at half: the first one's is (0.5, 0.5). y of the result is up.
    """
    f = focal(SOURCE_FOV, height, width)
    return torch.stack([(xs - width / 2) / f, (height / 2 - ys) / f, torch.ones_like(xs)], -1)


def rotation(pose: Sequence[float]) -> Tensor:
    """Rows: right, up and forward of a camera (position, point looked at, fov), float64 [3, 3]."""
    eye, target = torch.tensor(pose[:3]).double(), torch.tensor(pose[3:6]).double()
    forward = target - eye
    forward = forward / forward.norm()
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]).double(), forward)
    right = right / right.norm()
    return torch.stack([right, torch.linalg.cross(forward, right), forward])


def project(points: Tensor, pose: Sequence[float], height: int, width: int) -> Tensor:
    """World points float64 [N, 3] → pixel place and depth (x, y, z), float64 [N, 3]."""
    seen = (points - torch.tensor(pose[:3]).double()) @ rotation(pose).T
    z = seen[:, 2].clamp(min=1e-3)
    f = focal(float(pose[6]), height, width)
    x = seen[:, 0] / z * f + width / 2
    y = height / 2 - seen[:, 1] / z * f
    return torch.stack([x, y, seen[:, 2]], 1)
