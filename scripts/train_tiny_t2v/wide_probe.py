"""Reads the wider world from pixels: two objects by their colours, camera, speed, a collision.

Every pixel of an object, its soft edge too, lies on the line in colour space from the
background to the object's colour; so two objects are told apart by that direction, even
where they touch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.wide import CAMERAS, RELATIONS
from reelmesh.node.stages.tiny_t2v.world import BACKGROUNDS, COLOURS, MOTIONS

from .probe import _THRESHOLD, Probe, _nearest, crops, silhouettes
from .wide_render import track_bank

_LEAST_VOTES = 12.0  # solid pixels a frame that make a colour an object
_WAYS = ("above", "below", "left-of", "right-of")
_TOUCH, _APART = 3, 4  # pixels between two objects: at most, at the closest; at least, before


class WideProbe:
    """Reads batches of clips; see `read_pairs` and `read_singles`."""

    def __init__(self, probe: Probe, device: torch.device | str = "cpu") -> None:
        self.probe = probe
        self.palette = torch.tensor(list(COLOURS.values()), device=device)
        self.bank = track_bank()[..., :3].to(device)

    @torch.inference_mode()
    def read_pairs(self, clips: Tensor) -> dict[str, Tensor]:
        """uint8 [B, 16, 3, 64, 64] → what is seen.

        Returns:
            colours int64 [B, 2], the two most seen (-1 for none); shapes [B, 2] of the object
            of each colour; centres [B, 16, 2, 2]; relation [B] of the first to the second;
            camera, background [B]; collides bool [B].
        """
        ground, apart, rgb = silhouettes(clips)
        b, t, h, w = apart.shape
        mask = apart > _THRESHOLD
        solid = -F.max_pool2d(-mask.float().reshape(b * t, 1, h, w), 3, 1, 1).reshape(b, t, h, w)
        pixels = rgb.permute(0, 1, 3, 4, 2)
        nearest = torch.cdist(pixels.reshape(b, -1, 3), self.palette).argmin(2)
        votes = torch.zeros(b, len(self.palette), device=clips.device)
        votes.scatter_add_(1, nearest, solid.reshape(b, -1))
        votes = votes / t
        top = votes.topk(2, dim=1)
        colours = torch.where(top.values >= _LEAST_VOTES, top.indices, -1)
        lines = self.palette[top.indices] - ground[:, None]  # [B, 2, 3]
        away = pixels - ground[:, None, None, None]
        along = torch.einsum("bthwc,bkc->bthwk", away, F.normalize(lines, dim=-1))
        owner = along.argmax(-1)
        covers = torch.stack([
            (along[..., k] / lines[:, k].norm(dim=-1)[:, None, None, None]).clamp(0, 1)
            * mask * (owner == k) for k in range(2)], dim=2)  # fmt: skip
        flat = covers.reshape(b * t * 2, h, w)
        logits = self.probe.net(crops(flat)).log_softmax(-1).reshape(b, t, 2, -1)
        centres, spread = self._centres(covers)
        return {
            "colours": colours,
            "shapes": logits.mean(1).argmax(-1),
            "centres": centres,
            "background": _nearest(ground, BACKGROUNDS),
            "camera": self._camera(centres, spread),
            "collides": self._collides(covers),
        }

    def _centres(self, covers: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, K, H, W] → centroids [B, T, K, 2] and root areas [B, T, K]."""
        side = covers.shape[-1]
        axis = (torch.arange(side, device=covers.device) + 0.5) / (side / 2) - 1
        mass = covers.sum((-1, -2)).clamp(min=1e-6)
        x, y = (covers.sum(-2) * axis).sum(-1) / mass, (covers.sum(-1) * axis).sum(-1) / mass
        return torch.stack([x, y], dim=-1), mass.sqrt() * 2 / side

    def _camera(self, centres: Tensor, spread: Tensor) -> Tensor:
        """Both objects drift alike: a pan; both change size alike: a zoom."""
        drift = (centres[:, -1] - centres[:, 0])[..., 0]  # [B, K]
        grown = (spread[:, -1] / spread[:, 0].clamp(min=1e-3)).log()
        out = torch.zeros(len(centres), dtype=torch.long, device=centres.device)
        out[(drift > 0.25).all(1)] = CAMERAS.index("pan-left")
        out[(drift < -0.25).all(1)] = CAMERAS.index("pan-right")
        out[(grown > 0.2).all(1)] = CAMERAS.index("zoom-in")
        out[(grown < -0.2).all(1)] = CAMERAS.index("zoom-out")
        return out

    def _collides(self, covers: Tensor) -> Tensor:
        """True where the two come from apart to a touch and part again."""
        solid = covers > 0.5
        gaps = torch.full(solid.shape[:2], 64, device=covers.device)
        grown = solid[:, :, 0].float().flatten(0, 1)[:, None]
        other = solid[:, :, 1].flatten(0, 1)
        for distance in range(1, 12):
            grown = F.max_pool2d(grown, 3, 1, 1)
            meets = ((grown[:, 0] > 0) & other).flatten(1).any(1).reshape(gaps.shape)
            gaps = torch.where(meets & (gaps == 64), distance, gaps)
        closest = gaps.argmin(1)
        at = torch.arange(gaps.shape[1], device=gaps.device)
        before = torch.where(at < closest[:, None], gaps, 0).amax(1)
        after = torch.where(at > closest[:, None], gaps, 0).amax(1)
        return (gaps.amin(1) <= _TOUCH) & (before >= _APART) & (after >= _APART)

    def relation(self, centres: Tensor, first: Tensor) -> Tensor:
        """How the object at place `first` [B] (0 or 1) of `centres` stands to the other."""
        mean = centres.mean(1)
        index = torch.arange(len(mean), device=mean.device)
        d = mean[index, first] - mean[index, 1 - first]
        sideways = d[:, 0].abs() > d[:, 1].abs()
        above, below, left, right = (RELATIONS.index(n) for n in _WAYS)
        return torch.where(
            sideways,
            torch.where(d[:, 0] < 0, left, right),
            torch.where(d[:, 1] < 0, above, below),
        )

    @torch.inference_mode()
    def read_singles(self, clips: Tensor) -> dict[str, Tensor]:
        """As `Probe.read`, with motion and speed from paths of every pace and phase, and camera."""
        out = self.probe.read(clips)
        _, apart, _ = silhouettes(clips)
        cover = (apart / apart.amax((1, 2, 3), keepdim=True).clamp(min=_THRESHOLD)).clamp(0, 1)
        cover = cover * (apart > _THRESHOLD)
        track, area = self.probe.follow(cover)
        a = track - track.mean(1, keepdim=True)
        bank = self.bank.reshape(-1, *self.bank.shape[-2:])
        b = bank - bank.mean(1, keepdim=True)
        best = (a[:, None] - b[None]).square().sum((2, 3)).argmin(1)
        speeds, phases = self.bank.shape[1:3]
        motion, speed = best // (speeds * phases), best // phases % speeds
        stays = (motion == MOTIONS.index("still")) | (motion == MOTIONS.index("spin"))
        out["motion"] = torch.where(stays, out["motion"], motion)
        out["speed"] = torch.where(stays, 0, speed)
        out["camera"] = self._camera(track[:, :, None, :2], area.sqrt()[..., None])
        return out
