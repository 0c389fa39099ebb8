"""warp: frames and depth → what a camera elsewhere would have seen of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from .base import ModelFree, StageContext
from .fourd.depth_video import read_depth
from .fourd.geometry import disparity_of, project
from .fourd.mesh import SURFACE, build_mesh
from .fourd.raster import rasterise
from .fourd.views import View, write_views
from .frames import Picture, read_frames
from .media import MAX_FRAMES, MediaLimits


class Warp(ModelFree):
    """Inputs `frames` and `depth`, output `views`: frame `start + i` from pose `poses[i]`.

    The trajectory holds one digest a view.
    """

    name = "warp"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Warps. Raises StageFailed ("bad_input"), StageCancelled."""
        start, stop = params.start, params.stop
        limits = MediaLimits(MAX_FRAMES, params.width, params.height)
        frames = read_frames(inputs["frames"], limits, start, stop)
        depth = read_depth(inputs["depth"], MAX_FRAMES, params.height, params.width, start, stop)
        views = []
        for i, pose in enumerate(params.poses):
            ctx.progress(i / len(frames), f"view {start + i + 1}")
            view = seen_from(frames[i], torch.from_numpy(depth[i]), pose)
            ctx.step(view.colour.tobytes())
            views.append(view)
        out = write_views(ctx.workdir / "views.mkv", views)
        ctx.progress(1.0)
        return {"views": out}


def seen_from(picture: Picture, disparity: Tensor, pose: Sequence[float]) -> View:
    """One view of a uint8 [H, W, 3] picture with disparity float [H, W] in 0..1."""
    height, width = disparity.shape
    mesh = build_mesh(disparity)
    raster = rasterise(project(mesh.points, pose, height, width), mesh.faces, height, width)
    face = raster.face.clamp(min=0)
    shown = (raster.face >= 0) & (mesh.kinds[face] == SURFACE)
    places = (mesh.places[mesh.faces[face]] * raster.weights[..., None]).sum(-2)
    colour = _sample(picture, places)
    colour[~shown] = 0
    depth = (mesh.points[:, 2][mesh.faces[face]] * raster.weights).sum(-1)
    nearness = torch.where(raster.face >= 0, disparity_of(depth.clamp(min=0.1)), 0.0).clamp(0, 1)
    return View(
        colour.numpy(),
        (nearness * 255).round().to(torch.uint8).numpy(),
        shown.numpy(),
        (raster.face >= 0).numpy(),
    )


def _sample(picture: Picture, places: Tensor) -> Tensor:
    """The picture's colours at pixel places [H, W, 2], uint8."""
    height, width, _ = picture.shape
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    grid = (places / torch.tensor([width, height]).double() * 2 - 1).float()[None]
    found = grid_sample(image, grid, padding_mode="border", align_corners=False)
    return found[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
