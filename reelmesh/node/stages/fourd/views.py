"""The artifact kind "views": what a camera elsewhere saw, and where it saw nothing.

Stored as "frames" of twice the height: colours above; below, red is disparity (255 near), green
tells what was hit: 255 the seen surface, 128 a hole or the closing, 0 nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelmesh.node.stages.base import bad_input
from reelmesh.node.stages.frames import FrameWriter, Picture, read_frames
from reelmesh.node.stages.media import MediaLimits

_SEEN, _HOLE = 255, 128


@dataclass(frozen=True)
class View:
    """One view, all [H, W]: colour [H, W, 3], black where not `seen`.

    disparity: uint8, of the footage's own camera. seen: bool. hit: bool, some face is there.
    """

    colour: Picture
    disparity: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    hit: NDArray[np.bool_]


def write_views(path: Path, views: Sequence[View]) -> Path:
    """Writes one view or more, of one size."""
    height, width = views[0].disparity.shape
    with FrameWriter(path, width, 2 * height) as writer:
        for view in views:
            below = np.zeros_like(view.colour)
            below[..., 0] = view.disparity
            below[..., 1] = np.where(view.seen, _SEEN, np.where(view.hit, _HOLE, 0))
            writer.write(np.concatenate([view.colour, below]))
    return path


def read_views(path: Path, most: int, height: int, width: int) -> list[View]:
    """All views of a file. Raises StageFailed ("bad_input")."""
    found = []
    for picture in read_frames(path, MediaLimits(most, width, 2 * height)):
        below = picture[height:]
        hit = below[..., 1]
        if not np.isin(hit, (0, _HOLE, _SEEN)).all():
            raise bad_input(f"{path.name} says things of its pixels that mean nothing")
        found.append(View(picture[:height], below[..., 0], hit == _SEEN, hit > 0))
    return found
