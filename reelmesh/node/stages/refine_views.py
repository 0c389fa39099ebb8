"""refine_views: views with holes → whole pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reelmesh.scheduler.stages.views import REACH

from .base import ModelFree, StageContext, bad_input
from .fourd.depth_video import Disparities, read_depth
from .fourd.fill import blur, erode, fill, fill_plane
from .fourd.gather import Frame, beyond, take_from
from .fourd.views import View, read_views
from .frames import FrameWriter, Pictures, read_frames
from .media import MAX_FRAMES, MediaLimits

_TIMES = (-4, 4, -10, 10)
"""Frames away that are looked at for what this one hides, the likeliest first."""
_SOFT = 2


class RefineViews(ModelFree):
    """Inputs `views`, `frames`, `depth`, and neighbouring runs' views; output `frames`.

    A hole is filled from other frames of the footage where they show the place, else from the far
    side around it. What was made up is averaged over neighbouring views, so that it does not
    flicker; for that, neighbouring runs are filled at the seams too, and so runs agree there.
    The trajectory holds one digest a view.
    """

    name = "refine_views"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Fills. Raises StageFailed ("bad_input"), StageCancelled."""
        size = (params.height, params.width)
        views = read_views(inputs["views"], params.frames, *size)
        if len(views) != params.frames:
            raise bad_input(f"there are {len(views)} views, not {params.frames}")
        before = read_views(inputs["before"], MAX_FRAMES, *size)[-REACH:] if params.before else []
        after = read_views(inputs["after"], MAX_FRAMES, *size)[:REACH] if params.after else []
        limits = MediaLimits(MAX_FRAMES, params.width, params.height)
        footage = read_frames(inputs["frames"], limits)
        depth = read_depth(inputs["depth"], MAX_FRAMES, *size)
        if not params.stop <= len(footage) == len(depth):
            raise bad_input(f"{len(footage)} frames and {len(depth)} of depth do not fit")
        several = [*before, *views, *after]
        filled = []
        for i, view in enumerate(several):
            ctx.progress(0.9 * i / len(several), f"view {i + 1} of {len(several)}")
            # A neighbour's pose is near enough to find out what its holes hide.
            own = min(max(i - len(before), 0), len(views) - 1)
            number = params.start + i - len(before)
            filled.append(fill_view(view, footage, depth, number, params.poses[own]))
        path = ctx.workdir / "frames.mkv"
        with FrameWriter(path, params.width, params.height) as writer:
            for i in range(len(before), len(before) + len(views)):
                picture = _steady(several, filled, i)
                ctx.step(picture.tobytes())
                writer.write(picture)
        ctx.progress(1.0)
        return {"frames": path}


def fill_view(
    view: View, footage: Pictures, depth: Disparities, number: int, pose: Sequence[float]
) -> Tensor:
    """One view, whole: float32 [3, H, W] in 0..255."""
    seen = torch.from_numpy(view.seen)
    colour = _planes(view.colour)
    disparity = torch.from_numpy(view.disparity).float() / 255
    if bool(seen.all()):
        return colour
    behind = fill_plane(disparity, seen)
    own = Frame(colour, disparity)
    known = seen.clone()
    for away in _TIMES:
        if not 0 <= number + away < len(footage):
            continue
        other = Frame(_planes(footage[number + away]), torch.from_numpy(depth[number + away]))
        found, usable = take_from(own, seen, behind, other, pose)
        usable &= ~known
        colour = torch.where(usable, found, colour)
        disparity = torch.where(usable, behind, disparity)
        known = known | usable
    this = Frame(_planes(footage[number]), torch.from_numpy(depth[number]))
    found, usable = beyond(this, behind, pose)
    usable &= ~known
    colour = torch.where(usable, found, colour)
    known = known | usable
    return fill(colour, torch.where(known, disparity, behind), known)


def _steady(views: Sequence[View], filled: Sequence[Tensor], number: int) -> np.ndarray[Any, Any]:
    """View `number`: what was seen as it is, what was filled averaged with its neighbours'."""
    seen = torch.from_numpy(views[number].seen)
    total, weight = torch.zeros_like(filled[number]), torch.zeros(seen.shape)
    for other in range(max(0, number - REACH), min(len(views), number + REACH + 1)):
        near = 1.0 / (1 + abs(other - number))
        also = (~torch.from_numpy(views[other].seen)).float() * near
        total += filled[other] * also
        weight += also
    made = total / weight.clamp(min=1e-6)
    # The seam between what was seen and what was made is drawn softly, on the made side.
    share = blur((~erode(seen, 1)).float()[None], _SOFT)[0]
    share = torch.where(seen, torch.zeros_like(share), share.clamp(0.0, 1.0).sqrt())
    picture = filled[number] + (made - filled[number]) * share
    out = picture.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    return out.numpy()


def _planes(picture: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1).float()
