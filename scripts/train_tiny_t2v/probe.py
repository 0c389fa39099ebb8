"""Reads what a clip shows, from its pixels alone.

Background, colour, size, motion and the number of objects are read by rule: the border's
median, the pixels that differ from it, their centroid's track. Shape is read by a small
convolutional network on the object's normalised silhouette.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelmesh.node.stages.tiny_t2v.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES

from .render import RADIUS, motion_track, shape_areas

PROBE_WEIGHTS = Path(__file__).parent / "shape_probe.safetensors"
CROP = 24
_THRESHOLD = 0.12
_LEAST_AREA = 6
_TURNING = 0.15  # mean change of the outline since the first frame, of its area


class ShapeNet(nn.Module):
    """Silhouettes [N, 1, 24, 24] in 0..1 → logits [N, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(),
            nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(48, 48, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(48 * 36, 32), nn.ReLU(), nn.Linear(32, len(SHAPES)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def silhouettes(clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 [B, T, 3, H, W] → background [B, 3], soft cover [B, T, H, W], colours 0..1."""
    rgb = clips.float() / 255
    border = torch.cat(
        [rgb[..., :2, :].flatten(3), rgb[..., -2:, :].flatten(3), rgb[..., :, :2].flatten(3),
         rgb[..., :, -2:].flatten(3)], dim=3,
    )  # fmt: skip
    ground = border.permute(0, 2, 1, 3).flatten(2).median(dim=2).values
    apart = (rgb - ground[:, None, :, None, None]).abs().amax(2)
    return ground, apart, rgb


def count_components(mask: Tensor) -> Tensor:
    """Number of 8-connected pieces of at least 6 pixels: bool [N, H, W] → int64 [N]."""
    n, h, w = mask.shape
    labels = torch.arange(1, h * w + 1, device=mask.device, dtype=torch.float32)
    labels = labels.reshape(1, h, w) * mask
    for _ in range(h * w):
        grown = F.max_pool2d(labels[:, None], 3, stride=1, padding=1)[:, 0] * mask
        if torch.equal(grown, labels):
            break
        labels = grown
    counts = torch.zeros(n, h * w + 1, device=mask.device)
    flat = labels.reshape(n, -1).long()
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))
    return (counts[:, 1:] >= _LEAST_AREA).sum(1)


def crops(cover: Tensor) -> Tensor:
    """Soft covers [N, H, W] → silhouettes scaled to their own box, [N, 1, 24, 24]."""
    n, h, w = cover.shape
    on = cover > 0.3
    cols, rows = on.any(1), on.any(2)

    def span(hit: Tensor) -> tuple[Tensor, Tensor]:
        index = torch.arange(hit.shape[1], device=hit.device)
        low = torch.where(hit, index, hit.shape[1]).amin(1).clamp(max=hit.shape[1] - 1)
        return low.float(), torch.where(hit, index, 0).amax(1).float()

    (x0, x1), (y0, y1) = span(cols), span(rows)
    half = (torch.maximum(x1 - x0, y1 - y0) + 1).clamp(min=4) / 2 * 1.15
    axis = torch.linspace(-1, 1, CROP, device=cover.device)
    gx = ((x0 + x1) / 2)[:, None, None] + half[:, None, None] * axis[None, None, :]
    gy = ((y0 + y1) / 2)[:, None, None] + half[:, None, None] * axis[None, :, None]
    grid = torch.stack(
        [(2 * gx.expand(n, CROP, CROP) + 1) / w - 1, (2 * gy.expand(n, CROP, CROP) + 1) / h - 1],
        dim=-1,
    )
    return F.grid_sample(cover[:, None], grid, align_corners=False)


def _nearest(values: Tensor, table: dict[str, tuple[float, float, float]]) -> Tensor:
    palette = torch.tensor(list(table.values()), device=values.device)
    return torch.cdist(values, palette).argmin(1)


class Probe:
    """Reads batches of clips; see `read`."""

    def __init__(self, net: ShapeNet, device: torch.device | str = "cpu") -> None:
        self.net = net.to(device).eval()
        self.areas = shape_areas().to(device)
        self.tracks = torch.stack([motion_track(m)[:, :3] for m in MOTIONS]).to(device)

    @classmethod
    def shipped(cls, device: torch.device | str = "cpu") -> Probe:
        """The probe with the weights that lie beside this file."""
        from safetensors.torch import load_file

        net = ShapeNet()
        net.load_state_dict({k: v.float() for k, v in load_file(PROBE_WEIGHTS).items()})
        return cls(net, device)

    @torch.inference_mode()
    def read(self, clips: Tensor) -> dict[str, Tensor]:
        """Reads clips.

        Args:
            clips: uint8 [B, 16, 3, 64, 64] on the probe's device.

        Returns:
            int64 [B] table positions under size, colour, shape, motion, background; bool
            [B] under one_object (exactly one piece in every frame, and no jump).
        """
        ground, apart, rgb = silhouettes(clips)
        b, t, h, w = apart.shape
        mask = apart > _THRESHOLD
        inner = -F.max_pool2d(-mask.float().reshape(b * t, 1, h, w), 3, 1, 1).reshape(b, t, h, w)
        weight = inner + 1e-4 * mask + 1e-9
        colour = (rgb * weight[:, :, None]).sum((1, 3, 4)) / weight.sum((1, 2, 3))[:, None]
        strength = (colour - ground).abs().amax(1).clamp(min=_THRESHOLD)
        cover = (apart / strength[:, None, None, None]).clamp(0, 1)
        logits = self.net(crops(cover.reshape(b * t, h, w))).reshape(b, t, -1)
        shape = logits.log_softmax(-1).mean(1).argmax(1)
        track, area = self.follow(cover * mask)
        radius = (area.mean(1) / self.areas[shape]).sqrt()
        one = (count_components(mask.reshape(b * t, h, w)).reshape(b, t) == 1).all(1)
        jump = (track[:, 1:, :2] - track[:, :-1, :2]).norm(dim=-1).amax(1)
        edge = (RADIUS["small"] * RADIUS["big"]) ** 0.5
        return {
            "size": (radius > edge).long(),
            "colour": _nearest(colour, COLOURS),
            "shape": shape,
            "motion": self._motion(track, cover),
            "background": _nearest(ground, BACKGROUNDS),
            "one_object": one & (jump < 0.45),
        }

    def follow(self, cover: Tensor) -> tuple[Tensor, Tensor]:
        """Centroid and relative radius [B, T, 3], and area [B, T], in scene coordinates."""
        side = cover.shape[-1]
        axis = (torch.arange(side, device=cover.device) + 0.5) / (side / 2) - 1
        mass = cover.sum((2, 3)).clamp(min=1e-6)
        x = (cover.sum(2) * axis).sum(2) / mass
        y = (cover.sum(3) * axis).sum(2) / mass
        area = mass * (2 / side) ** 2
        radius = area.sqrt()
        return torch.stack([x, y, radius / radius.mean(1, keepdim=True)], dim=-1), area

    def _motion(self, track: Tensor, cover: Tensor) -> Tensor:
        """Nearest path, whatever the offset; staying objects spin if their outline changes."""
        a = track - track.mean(1, keepdim=True)
        b = self.tracks - self.tracks.mean(1, keepdim=True)
        motion = (a[:, None] - b[None]).square().sum((2, 3)).argmin(1)
        change = (cover - cover[:, :1]).abs().sum((2, 3)).mean(1)
        turning = change / cover[:, 0].sum((1, 2)).clamp(min=1e-6) > _TURNING
        still, spin = MOTIONS.index("still"), MOTIONS.index("spin")
        stays = (motion == still) | (motion == spin)
        return torch.where(stays, torch.where(turning, spin, still), motion)
