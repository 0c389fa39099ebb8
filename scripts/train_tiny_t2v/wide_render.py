"""Renders the wider world, in batches, on any device; coordinates as in `render`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.wide import CAMERAS, EVENTS, RELATIONS, SPEEDS, WideScene
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

from .render import _STEP, RADIUS, motion_track, signed_distance

PHASES = 8
PAIR_RADIUS = 0.27
#: Half the distance of two objects' centres; of a camera's way; a zoom's first and last scale.
HALF_GAP, PAN, ZOOM = 0.40, 0.28, (0.8, 1.3)
_APPROACH = 0.7  # half gap closed per clip length
#: How far two objects run into each other, in half gaps: three pixels. A model that cannot tell
#: the moment of contact to the frame stops short of it by as much.
_PRESSED = 0.047
CYCLIC = ("bounce", "orbit", "sway")
_REACH = {"slow": 0.6, "fast": 1.45}
_RATE = {"normal": 1.0, "slow": 0.5, "fast": 2.0}
COLUMNS = ("colour", "shape", "background", "size", "motion", "speed", "camera",
           "second_colour", "second_shape", "relation", "event", "phase")  # fmt: skip
_TABLES: tuple[Sequence[str], ...] = (
    tuple(COLOURS), SHAPES, tuple(BACKGROUNDS), SIZES, MOTIONS, SPEEDS, CAMERAS,
    tuple(COLOURS), SHAPES, RELATIONS, EVENTS,
)  # fmt: skip


def rows(scenes: Sequence[WideScene | Scene], generator: torch.Generator) -> Tensor:
    """int64 [B, 12], one column per COLUMNS; phases are drawn (0 for an old scene)."""
    out = []
    for scene in scenes:
        values = [getattr(scene, name, "") for name in COLUMNS[:-1]]
        out.append([t.index(v) if v else 0 for t, v in zip(_TABLES, values, strict=True)])
    phase = torch.randint(PHASES, (len(out), 1), generator=generator)
    wide = torch.tensor([[isinstance(s, WideScene)] for s in scenes])
    return torch.cat([torch.tensor(out), phase * wide], dim=1)


def paced_track(motion: str, speed: str, phase: int) -> Tensor:
    """[16, 4] x, y, radius factor and turn, at a speed and from a phase (0..7) of its cycle."""
    track, t = motion_track(motion), torch.arange(FRAMES) / (FRAMES - 1)
    turn = 2 * math.pi * phase / PHASES
    if motion == "bounce":
        track[:, 1] = 0.45 - 0.85 * (1.5 * math.pi * t * _RATE[speed] + turn / 2).cos().abs()
    elif motion == "orbit":
        angle = 2 * math.pi * t * _RATE[speed] - math.pi / 2 + turn
        track[:, 0], track[:, 1] = 0.45 * angle.cos(), 0.45 * angle.sin()
    elif motion == "sway":
        track[:, 0] = -0.5 * (2 * math.pi * t * _RATE[speed] + turn).cos()
    elif speed != "normal":
        track[:, :2] *= _REACH[speed]
    return track


@lru_cache(maxsize=1)
def track_bank() -> Tensor:
    """[motions, speeds, phases, 16, 4]."""
    return torch.stack([torch.stack([torch.stack(
        [paced_track(m, s, p if m in CYCLIC else 0) for p in range(PHASES)])
        for s in SPEEDS]) for m in MOTIONS])  # fmt: skip


@lru_cache(maxsize=1)
def reaches() -> Tensor:
    """[shapes, 4]: how far a shape of radius 1 reaches up, down, left, right of its centre."""
    ray, zero = torch.linspace(0, 1.4, 281), torch.zeros(281)
    out = []
    for shape in SHAPES:
        ways = [signed_distance(shape, x, y)
                for x, y in ((zero, -ray), (zero, ray), (-ray, zero), (ray, zero))]  # fmt: skip
        out.append([float(ray[(d < 0).nonzero().amax()]) if (d < 0).any() else 0.9 for d in ways])
    return torch.tensor(out)


def contact_time(phase: Tensor) -> Tensor:
    """When two objects collide, 0..1 of the clip, by phase."""
    return (6 + phase % 4) / (FRAMES - 1)


def jitters(count: int, generator: torch.Generator) -> Tensor:
    """[B, 6] in -1..1: offsets of the whole, of the first and of the second object."""
    return torch.rand(count, 6, generator=generator) * 2 - 1


def _single(r: Tensor, jitter: Tensor) -> Tensor:
    track = track_bank().to(r.device)[r[:, 4], r[:, 5], r[:, 11]].clone()
    along = torch.ones(len(MOTIONS), 2)
    for i, motion in enumerate(MOTIONS):
        for way in motion.split("-"):
            if way in _STEP:
                along[i, 0 if _STEP[way][0] else 1] = 1 / 3
        if motion in CYCLIC:
            along[i] = 2 / 3
    track[..., :2] += (jitter[:, :2] * 0.15 * along.to(r.device)[r[:, 4]])[:, None]
    return track


def _pair(r: Tensor, jitter: Tensor) -> tuple[Tensor, Tensor]:
    """Both objects' [B, 16, 4] before the camera."""
    device, t = r.device, torch.arange(FRAMES, device=r.device) / (FRAMES - 1)
    ways = torch.tensor([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]], device=device)
    axis = ways[r[:, 9]].float()[:, None]  # from the middle to the first object
    inward = torch.tensor([0, 1, 0, 3, 2], device=device)[r[:, 9]]
    outward = torch.tensor([0, 0, 1, 2, 3], device=device)[r[:, 9]]
    reach = reaches().to(device)
    touch = (reach[r[:, 1], inward] + reach[r[:, 8], outward]) * PAIR_RADIUS / 2
    hits = (r[:, 10] == EVENTS.index("collide"))[:, None]
    near = touch[:, None] - _PRESSED + _APPROACH * (t[None] - contact_time(r[:, 11])[:, None]).abs()
    gap = torch.where(hits, near, torch.full_like(near, HALF_GAP))[..., None]
    out = []
    for way, part in ((1, jitter[:, 2:4]), (-1, jitter[:, 4:6])):
        own = part * 0.08 * ~hits
        xy = way * axis * gap + (jitter[:, :2] * 0.08 + own)[:, None]
        ones = torch.ones_like(gap)
        out.append(torch.cat([xy, ones, 0 * ones], dim=-1))
    return out[0], out[1]


def _seen(track: Tensor, r: Tensor, pan: Tensor) -> Tensor:
    """Applies the camera: a pan moves what is seen the other way, a zoom scales it all."""
    t = torch.arange(FRAMES, device=r.device) / (FRAMES - 1)
    camera = r[:, 6, None]
    shift = ((camera == 1).float() - (camera == 2).float()) * pan[:, None] * (2 * t - 1)
    low, high = ZOOM
    grown = low + (high - low) * t
    scale = torch.where(camera == 3, grown, torch.where(camera == 4, grown.flip(0), 1.0))
    x, y = track[..., 0] * scale + shift, track[..., 1] * scale
    return torch.stack([x, y, track[..., 2] * scale, track[..., 3]], dim=-1)


def objects(r: Tensor, jitter: Tensor) -> tuple[Tensor, Tensor]:
    """Where both objects are: two [B, 16, 4] of x, y, radius, turn; an absent one has radius 0."""
    pair = (r[:, 9] > 0)[:, None, None]
    alone = _single(r, torch.where((r[:, 6] > 0)[:, None], jitter * 1.6, jitter))
    first, second = _pair(r, jitter)
    pan = torch.where(pair[:, 0, 0], PAN, 0.5)
    both = [_seen(torch.where(pair, first, alone), r, pan), _seen(second, r, pan)]
    small = torch.tensor([RADIUS[s] for s in SIZES], device=r.device)[r[:, 3]]
    radius = torch.where(pair[:, 0, 0], PAIR_RADIUS, small)[:, None]
    both[0][..., 2] *= radius
    both[1][..., 2] *= radius * pair[:, 0]
    return both[0], both[1]


def _layer(track: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Cover and shade [B, 16, 64, 64] of one object."""
    axis = (torch.arange(HEIGHT, device=track.device) + 0.5) / (HEIGHT / 2) - 1
    r = track[..., 2].clamp(min=1e-3)[..., None, None]
    x = (axis[None, None, None, :] - track[..., 0, None, None]) / r
    y = (axis[None, None, :, None] - track[..., 1, None, None]) / r
    shade = 1 - 0.09 * (0.5 * (x + y)).clamp(-1, 1)
    turn = track[..., 3, None, None]
    x, y = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    cover = torch.zeros_like(x)
    for i, name in enumerate(SHAPES):
        of = (shape == i).nonzero()[:, 0]
        if len(of):
            d = signed_distance(name, x[of], y[of]) * r[of] * (HEIGHT / 2)
            cover[of] = (0.5 - d).clamp(0, 1)
    return cover * (track[..., 2] > 0)[..., None, None], shade


def render_wide(r: Tensor, jitter: Tensor) -> Tensor:
    """Draws clips: rows [B, 12] and jitters [B, 6] → uint8 [B, 16, 3, 64, 64]."""
    device = r.device
    jitter = jitter.to(device)
    first, second = objects(r, jitter)
    palette = torch.tensor(list(COLOURS.values()), device=device)
    ground = torch.tensor(list(BACKGROUNDS.values()), device=device)[r[:, 2]]
    out = ground[:, None, :, None, None].expand(-1, FRAMES, -1, HEIGHT, HEIGHT)
    for track, colour, shape in ((second, r[:, 7], r[:, 8]), (first, r[:, 0], r[:, 1])):
        cover, shade = _layer(track, shape)
        lit = (palette[colour][:, None, :, None, None] * shade[:, :, None]).clamp(0, 1)
        out = out + cover[:, :, None] * (lit - out)
    return (out * 255).round().to(torch.uint8)
