"""A rasteriser in plain torch: which face each pixel shows, the same for any order of the faces.

Faces are cut into rows, rows into pixels; each candidate is one 64-bit number, depth above face,
and the least one of a pixel wins. A row's ends are found from the same edge, computed in the same
way, by both faces that share it: no pixel is missed between them, and none is drawn for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NOTHING = torch.iinfo(torch.int64).max
_DEPTH_STEPS = 2**24
"""To one unit of depth; depths up to 127 fit above the face."""
_MAX_CANDIDATES = 1 << 22


@dataclass(frozen=True)
class Raster:
    """What each pixel shows.

    face: int64 [H, W], -1 where nothing is hit. weights: float64 [H, W, 3], perspective-correct
    weights of the face's corners. depth: float64 [H, W].
    """

    face: Tensor
    weights: Tensor
    depth: Tensor


def rasterise(corners: Tensor, faces: Tensor, height: int, width: int) -> Raster:
    """Draw faces int64 [F, 3] of projected vertices float64 [V, 3] (pixel x, y and z).

    A pixel is drawn where its centre lies in a face. Faces with a corner at z < 0.05 are left out.
    """
    best = torch.full((height * width,), _NOTHING)
    usable = torch.nonzero((corners[faces][..., 2] > 0.05).all(1))[:, 0]
    for part in torch.split(usable, 400_000):
        _draw(corners, faces, part, best, height, width)
    hit = best != _NOTHING
    face = torch.where(hit, best & 0xFFFFFFFF, -1)
    weights = torch.zeros(height * width, 3, dtype=torch.float64)
    depth = torch.zeros(height * width, dtype=torch.float64)
    where = torch.nonzero(hit)[:, 0]
    weights[where], depth[where] = _weights(corners[faces[face[where]]], where, width)
    return Raster(
        face.view(height, width), weights.view(height, width, 3), depth.view(height, width)
    )


def _draw(
    corners: Tensor, faces: Tensor, part: Tensor, best: Tensor, height: int, width: int
) -> None:
    owner, y, start, count = _rows(corners[faces[part]], height, width)
    # Rows of a few faces can be very long: not all pixels are expanded at once.
    total = count.cumsum(0)
    begin = 0
    while begin < len(count):
        done = int(total[begin - 1]) if begin else 0
        end = int(torch.searchsorted(total, done + _MAX_CANDIDATES, right=True))
        end = max(end, begin + 1)
        rows = slice(begin, end)
        _put(corners, faces, part, (owner[rows], y[rows], start[rows], count[rows]), best, width)
        begin = end


def _rows(triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each row of each triangle [F, 3, 3]: its triangle, y, first pixel, number of pixels."""
    ys = triangles[..., 1]
    top = (ys.amin(1) - 0.5).ceil().clamp(0, height).long()
    bottom = (ys.amax(1) - 0.5).ceil().clamp(0, height).long()
    count = (bottom - top).clamp(min=0)
    owner = torch.repeat_interleave(torch.arange(len(triangles)), count)
    within = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
    y = top[owner] + within
    left = torch.full((len(owner),), torch.inf, dtype=torch.float64)
    right = -left
    centre = y.double() + 0.5
    for k in range(3):
        a, b = triangles[:, k], triangles[:, (k + 1) % 3]
        swap = (b[:, 1] < a[:, 1]) | ((b[:, 1] == a[:, 1]) & (b[:, 0] < a[:, 0]))
        low = torch.where(swap[:, None], b, a)[owner]
        high = torch.where(swap[:, None], a, b)[owner]
        crosses = (low[:, 1] <= centre) & (centre < high[:, 1])
        rise = torch.where(crosses, high[:, 1] - low[:, 1], 1.0)
        x = low[:, 0] + (centre - low[:, 1]) * ((high[:, 0] - low[:, 0]) / rise)
        left = torch.where(crosses, torch.minimum(left, x), left)
        right = torch.where(crosses, torch.maximum(right, x), right)
    start = (left - 0.5).ceil().clamp(0, width).nan_to_num(0).long()
    stop = (right - 0.5).ceil().clamp(0, width).nan_to_num(0).long()
    pixels = (stop - start).clamp(min=0)
    some = pixels > 0
    return owner[some], y[some], start[some], pixels[some]


def _put(
    corners: Tensor,
    faces: Tensor,
    part: Tensor,
    rows: tuple[Tensor, Tensor, Tensor, Tensor],
    best: Tensor,
    width: int,
) -> None:
    owner, y, start, count = rows
    row = torch.repeat_interleave(torch.arange(len(count)), count)
    x = start[row] + torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    pixel = y[row] * width + x
    drawn = owner[row]
    plane = _planes(corners[faces[part]])
    px, py = x.double() + 0.5, y[row].double() + 0.5
    nearness = plane[drawn, 0] + plane[drawn, 1] * px + plane[drawn, 2] * py
    nearness = torch.minimum(torch.maximum(nearness, plane[drawn, 3]), plane[drawn, 4])
    packed = ((_DEPTH_STEPS / nearness).long() << 32) | part[drawn]
    best.scatter_reduce_(0, pixel, packed, "amin")


def _planes(triangles: Tensor) -> Tensor:
    """1/z over a picture, for each triangle: at (0, 0), by x, by y, least and largest: [F, 5]."""
    x, y = triangles[..., 0], triangles[..., 1]
    near = 1 / triangles[..., 2]
    dx1, dy1, d1 = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0], near[:, 1] - near[:, 0]
    dx2, dy2, d2 = x[:, 2] - x[:, 0], y[:, 2] - y[:, 0], near[:, 2] - near[:, 0]
    area = dx1 * dy2 - dx2 * dy1
    area = torch.where(area.abs() < 1e-12, torch.inf, area)
    by_x = (d1 * dy2 - d2 * dy1) / area
    by_y = (d2 * dx1 - d1 * dx2) / area
    base = near[:, 0] - by_x * x[:, 0] - by_y * y[:, 0]
    return torch.stack([base, by_x, by_y, near.amin(1), near.amax(1)], 1)


def _weights(triangles: Tensor, pixel: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Perspective-correct corner weights [N, 3] and depth [N] at pixels' centres."""
    px = (pixel % width).double() + 0.5
    py = torch.div(pixel, width, rounding_mode="floor").double() + 0.5
    x, y = triangles[..., 0] - px[:, None], triangles[..., 1] - py[:, None]
    flat = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    total = flat.sum(1, keepdim=True)
    flat = torch.where(total.abs() > 1e-9, flat / total, 1 / 3).clamp(0, 1)
    flat = flat / flat.sum(1, keepdim=True).clamp(min=1e-9)
    near = flat / triangles[..., 2]
    depth = 1 / near.sum(1)
    return near * depth[:, None], depth
