"""One frame's depth as a watertight mesh: what was seen, what lies hidden, and a back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .geometry import BEHIND, depth_of, pixel_rays

THINNEST = 2.5
"""Degrees. A face with a smaller angle spans a jump of depth: what it would show is unknown."""
SURFACE, HOLE, CLOSING = 2, 1, 0
MESH_SIDE = 320
"""A mesh has at most so many vertices along a picture's longer side."""


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh.

    points: float64 [V, 3]. faces: int64 [F, 3]. kinds: uint8 [F], SURFACE, HOLE or CLOSING.
    places: float64 [V, 2], pixel (x, y) of the footage that each vertex shows.
    """

    points: Tensor
    faces: Tensor
    kinds: Tensor
    places: Tensor


@dataclass(frozen=True)
class _Grid:
    """What is the same for all frames of a size: vertices ring by ring, and faces."""

    xs: Tensor  # [rows, columns], pixel places
    ys: Tensor
    faces: Tensor  # the surface's first
    surface: int
    ring: Tensor  # [rows + 2, columns + 2, 2], places with the border around


def build_mesh(disparity: Tensor) -> Mesh:
    """The mesh of disparity float [H, W] in 0..1.

    The surface goes through the pixels. Around it lies a border at the far depth, joined to it by
    closing faces; a fan behind everything closes the rest.
    """
    height, width = disparity.shape
    grid = _grid(height, width)
    rows, columns = grid.xs.shape
    sampled = _sample(disparity.double(), grid.xs, grid.ys)
    depth = torch.full((rows + 2, columns + 2), BEHIND, dtype=torch.float64)
    depth[1:-1, 1:-1] = depth_of(sampled)
    places = grid.ring.reshape(-1, 2)
    rays = pixel_rays(height, width, places[:, 0], places[:, 1])
    points = rays * depth.reshape(-1, 1)
    points = torch.cat([points, torch.tensor([[0.0, 0.0, BEHIND]]).double()])
    places = torch.cat([places, torch.tensor([[width / 2, height / 2]]).double()])
    kinds = torch.full((len(grid.faces),), CLOSING, dtype=torch.uint8)
    thin = smallest_angles(points, grid.faces[: grid.surface]) < THINNEST
    kinds[: grid.surface] = torch.where(thin, HOLE, SURFACE).to(torch.uint8)
    return Mesh(points, grid.faces, kinds, places)


def smallest_angles(points: Tensor, faces: Tensor) -> Tensor:
    """The smallest angle of each face, in degrees: float64 [F]. A face without area has 0."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    sides = torch.stack([(b - c).norm(dim=1), (c - a).norm(dim=1), (a - b).norm(dim=1)], 1)
    shortest, middle, longest = sides.sort(dim=1).values.unbind(1)
    # The smallest angle lies across from the shortest side.
    cosine = (middle**2 + longest**2 - shortest**2) / (2 * middle * longest).clamp(min=1e-12)
    angle: Tensor = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))
    return torch.where(shortest > 0, angle, torch.zeros_like(angle))


def _sample(plane: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """The plane at the pixel nearest to each place: depth is never mixed across an edge."""
    height, width = plane.shape
    return plane[ys.floor().long().clamp(0, height - 1), xs.floor().long().clamp(0, width - 1)]


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> _Grid:
    step = -(-max(height, width) // MESH_SIDE)
    rows, columns = -(-height // step), -(-width // step)
    # The first and last vertices stand on the picture's edge, so that all of it is shown.
    xs = torch.linspace(0, width, columns, dtype=torch.float64)
    ys = torch.linspace(0, height, rows, dtype=torch.float64)
    ring_x, ring_y = (torch.cat([t[:1], t, t[-1:]]) for t in (xs, ys))
    ring = torch.stack(torch.meshgrid(ring_x, ring_y, indexing="xy"), -1)
    number = torch.arange((rows + 2) * (columns + 2)).view(rows + 2, columns + 2)
    inner = _quads(number[1:-1, 1:-1])
    border = torch.cat(
        [
            _quads(number[:2]),
            _quads(number[-2:]),
            _quads(number[1:-1, :2]),
            _quads(number[1:-1, -2:]),
        ]
    )
    around = torch.cat(
        [number[0, :-1], number[:-1, -1], number[-1, 1:].flip(0), number[1:, 0].flip(0)]
    )
    back = torch.stack([around, around.roll(-1), torch.full_like(around, number.numel())], 1)
    ys_grid, xs_grid = torch.meshgrid(ys, xs, indexing="ij")
    return _Grid(xs_grid, ys_grid, torch.cat([inner, border, back]), len(inner), ring)


def _quads(number: Tensor) -> Tensor:
    """Two faces for each cell of a grid of vertex numbers, all with the same turn: [2 * cells, 3].

    The diagonal changes from cell to cell, so that no direction is preferred.
    """
    a, b = number[:-1, :-1].flatten(), number[:-1, 1:].flatten()
    c, d = number[1:, :-1].flatten(), number[1:, 1:].flatten()
    rows, columns = number.shape[0] - 1, number.shape[1] - 1
    odd = (torch.arange(rows)[:, None] + torch.arange(columns)).flatten() % 2 == 1
    first = torch.where(odd[:, None], torch.stack([a, c, d], 1), torch.stack([a, c, b], 1))
    second = torch.where(odd[:, None], torch.stack([a, d, b], 1), torch.stack([b, c, d], 1))
    return torch.cat([first, second])
