"""Renders captioned scenes as clips, in batches, on any device.

Coordinates are -1..1 with y pointing down; time is frame/15. Shapes are signed distance
fields, drawn with one pixel of anti-aliasing and a slight shade from the upper left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.world import (
    BACKGROUNDS,
    COLOURS,
    FRAMES,
    HEIGHT,
    MOTIONS,
    SHAPES,
    SIZES,
    Scene,
)

RADIUS = {"small": 0.27, "big": 0.42}
_AREA_GRID = 512  # samples a side when a shape's area is measured
_STEP = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def scene_indices(scenes: list[Scene], device: torch.device | str = "cpu") -> Tensor:
    """int64 [B, 5]: size, colour, shape, motion, background as table positions."""
    tables = (SIZES, tuple(COLOURS), SHAPES, MOTIONS, tuple(BACKGROUNDS))
    rows = [
        [
            table.index(value)
            for table, value in zip(
                tables, (s.size, s.colour, s.shape, s.motion, s.background), strict=True
            )
        ]
        for s in scenes
    ]
    return torch.tensor(rows, device=device)


def motion_track(motion: str) -> Tensor:
    """[16, 4]: x, y, radius factor and turn (radians) of a motion, without its offset."""
    t = torch.arange(FRAMES) / (FRAMES - 1)
    x, y, scale = torch.zeros(FRAMES), torch.zeros(FRAMES), torch.ones(FRAMES)
    turn = torch.zeros(FRAMES)
    for way in motion.split("-"):
        if way in _STEP:
            reach = 0.55 if motion == way else 0.48
            x = x + _STEP[way][0] * reach * (2 * t - 1)
            y = y + _STEP[way][1] * reach * (2 * t - 1)
    if motion == "bounce":
        y = 0.45 - 0.85 * (1.5 * math.pi * t).cos().abs()
    elif motion == "orbit":
        angle = 2 * math.pi * t - math.pi / 2
        x, y = 0.45 * angle.cos(), 0.45 * angle.sin()
    elif motion == "sway":
        x = -0.5 * (2 * math.pi * t).cos()
    elif motion == "spin":
        turn = math.pi * t
    elif motion == "grow":
        scale = 0.6 + 0.8 * t
    elif motion == "shrink":
        scale = 1.4 - 0.8 * t
    return torch.stack([x, y, scale, turn], dim=1)


def _star(x: Tensor, y: Tensor) -> Tensor:
    outer, inner, sector = 1.15, 0.5, math.pi / 5
    radius = torch.sqrt(x * x + y * y + 1e-9)
    angle = torch.remainder(torch.atan2(x, -y) + sector, 2 * sector) - sector
    px, py = radius * angle.cos(), (radius * angle.sin()).abs()
    ex, ey = inner * math.cos(sector) - outer, inner * math.sin(sector)
    return (-(ey * (px - outer)) + ex * py) / -math.hypot(ex, ey)


def _heart(x: Tensor, y: Tensor) -> Tensor:
    a = 0.58
    x, y = x.abs(), y - 0.08
    lobe = torch.sqrt((x - a / math.sqrt(2)) ** 2 + (y + a / math.sqrt(2)) ** 2) - a
    return torch.minimum((x + y.abs()) / math.sqrt(2) - a, lobe)


def signed_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Distance to the outline of a shape of radius 1 at the origin, negative inside."""
    ax, ay = x.abs(), y.abs()
    if shape == "circle":
        return torch.sqrt(x * x + y * y) - 1.0
    if shape == "square":
        return torch.maximum(ax, ay) - 0.87
    if shape == "triangle":
        y = y - 0.15
        return torch.maximum(y, math.sqrt(3) / 2 * ax - y / 2) - 0.6
    if shape == "star":
        return _star(x, y)
    if shape == "ring":
        return (torch.sqrt(x * x + y * y) - 0.75).abs() - 0.27
    if shape == "cross":
        return torch.minimum(torch.maximum(ax - 1.0, ay - 0.33), torch.maximum(ax - 0.33, ay - 1.0))
    if shape == "diamond":
        return (ax / 0.78 + ay / 1.18 - 1) / math.hypot(1 / 0.78, 1 / 1.18)
    return _heart(x, y)


def shape_areas() -> Tensor:
    """[8] area of each shape at radius 1."""
    axis = torch.linspace(-1.3, 1.3, _AREA_GRID)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    cell = (2.6 / (_AREA_GRID - 1)) ** 2
    return torch.stack([(signed_distance(s, x, y) < 0).sum() * cell for s in SHAPES])


def random_offsets(scenes: Tensor, generator: torch.Generator) -> Tensor:
    """[B, 2] where each object starts off its path: ±.15, and ±.05 along a straight path."""
    off = (torch.rand(len(scenes), 2, generator=generator) * 2 - 1) * 0.15
    along = torch.ones(len(MOTIONS), 2)
    for i, motion in enumerate(MOTIONS):
        for way in motion.split("-"):
            if way in _STEP:
                along[i, 0 if _STEP[way][0] else 1] = 1 / 3
        if motion in ("orbit", "bounce", "sway"):
            along[i] = 2 / 3
    return off * along[scenes[:, 3].cpu()]


def render(scenes: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Draws clips.

    Args:
        scenes: int64 [B, 5] from `scene_indices`, on the device to draw on.
        offsets: float32 [B, 2].

    Returns:
        Frames uint8 [B, 16, 3, 64, 64] and the object's cover uint8 [B, 16, 64, 64].
    """
    device = scenes.device
    tracks = torch.stack([motion_track(m) for m in MOTIONS]).to(device)
    radius = torch.tensor([RADIUS[s] for s in SIZES], device=device)[scenes[:, 0]]
    track = tracks[scenes[:, 3]]
    centre = track[..., :2] + offsets.to(device)[:, None]
    r = (radius[:, None] * track[..., 2])[..., None, None]
    axis = (torch.arange(HEIGHT, device=device) + 0.5) / (HEIGHT / 2) - 1
    x = (axis[None, None, None, :] - centre[..., 0, None, None]) / r
    y = (axis[None, None, :, None] - centre[..., 1, None, None]) / r
    shade = 1 - 0.09 * (0.5 * (x + y)).clamp(-1, 1)
    turn = track[..., 3, None, None]
    x, y = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    cover = torch.empty(len(scenes), FRAMES, HEIGHT, HEIGHT, device=device)
    for i, shape in enumerate(SHAPES):
        of = (scenes[:, 2] == i).nonzero()[:, 0]
        if len(of):
            d = signed_distance(shape, x[of], y[of]) * r[of] * (HEIGHT / 2)
            cover[of] = (0.5 - d).clamp(0, 1)
    colour = torch.tensor(list(COLOURS.values()), device=device)[scenes[:, 1]]
    ground = torch.tensor(list(BACKGROUNDS.values()), device=device)[scenes[:, 4]]
    frames = torch.empty(len(scenes), FRAMES, 3, HEIGHT, HEIGHT, dtype=torch.uint8, device=device)
    for c in range(3):
        lit = (colour[:, c, None, None, None] * shade).clamp(0, 1)
        back = ground[:, c, None, None, None]
        frames[:, :, c] = ((back + cover * (lit - back)) * 255).round().to(torch.uint8)
    return frames, (cover * 255).round().to(torch.uint8)
