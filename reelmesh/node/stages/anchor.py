"""anchor: the model's clip and the buyer's picture → key frames that begin with the picture.

The model draws simple shapes on plain backgrounds at 64x64, each motion from its usual place on; no
picture of a buyer's looks just like that. So the clip says how things go, and the picture how they
look. A picture of one thing on a plain background is cut in two, and the thing goes the way that
the model's goes. Any other picture, such as most photographs, is beyond the model's world: it moves
as a whole, as under a camera that follows the model's path, and never shows its border.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reelmesh.scheduler.sizes import box

from .base import ModelFree, StageContext, one_thread_opencv
from .cutout import cut_out, move_cutout
from .encode_image import SIZE
from .frames import Picture, Pictures, read_frames, write_frames
from .media import MediaLimits
from .track import Image, follow

CLIP_FRAMES, CLIP_SIZE = 16, 64
_SHARE = 0.2  # of the model's motion that the whole picture takes part in
_FARTHEST = 0.1  # of the picture's side, at most
_ZOOM = 1.12  # where the model's clip gives no path to follow


class Anchor(ModelFree):
    """Inputs `frames` (the clip) and `picture`, output `frames`: 16 pictures of the video's shape.

    Their longer side has SIZE pixels; the first one is the buyer's picture.
    """

    name = "anchor"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Anchors. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(CLIP_FRAMES, CLIP_SIZE, CLIP_SIZE)
        clip = read_frames(inputs["frames"], limits, 0, CLIP_FRAMES)
        picture = read_picture(inputs["picture"])
        ctx.progress(0.0, "comparing the clip with the picture")
        with one_thread_opencv():
            keys, note = _keys(clip, picture)
        keys = crop(keys, params.width, params.height)
        ctx.step(keys.tobytes())
        out = write_frames(ctx.workdir / "frames.mkv", keys)
        ctx.progress(1.0, note)
        return {"frames": out}


def _keys(clip: Pictures, picture: Picture) -> tuple[Pictures, str]:
    cutout = cut_out(picture)
    moved = None if cutout is None else move_cutout(clip, cutout)
    if moved is not None:
        return moved, "the thing in the picture goes the model's way"
    return move_whole(clip, picture), "beyond the model's world: the picture moves as a whole"


def read_picture(path: Path) -> Picture:
    """The one square picture that `encode_image` made. Raises StageFailed ("bad_input")."""
    picture: Picture = read_frames(path, MediaLimits(1, SIZE, SIZE))[0]
    return picture


def shrink(picture: Picture, side: int) -> Picture:
    """A square picture at another size."""
    small: Any = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, dtype=np.uint8)


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal to noise ratio of two uint8 pictures of one size, in dB; 99 when equal."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 99.0 if error < 1e-5 else float(10 * np.log10(255**2 / error))


def move_whole(clip: Pictures, picture: Picture) -> Pictures:
    """The picture under a camera that goes the model's way, zoomed so far that no border shows."""
    track = follow([frame.astype(np.float32) for frame in clip])
    keys = [picture]
    share = _SHARE
    if track is not None:
        farthest = float(np.abs(track.centre - track.centre[0]).max()) / CLIP_SIZE
        share = min(share, _FARTHEST / max(farthest, 1e-6))
    for number in range(1, len(clip)):
        if track is None:
            part = number / (len(clip) - 1)
            away, scale = np.zeros(2), 1 + (_ZOOM - 1) * part
        else:
            start, size = track.at(0)
            centre, now = track.at(number)
            away = share * (centre - start) / CLIP_SIZE * SIZE
            scale = max(1.0, (now / size) ** _SHARE)
        scale = max(scale, 1 + 2 * float(np.abs(away).max()) / SIZE)
        middle = (SIZE - 1) / 2
        offset = middle * (1 - scale) + away
        matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        moved = _warp(picture.astype(np.float32), matrix)
        keys.append(np.clip(np.rint(moved), 0, 255).astype(np.uint8))
    return np.stack(keys)


def _warp(image: Image, matrix: NDArray[np.float64]) -> Image:
    size = (image.shape[1], image.shape[0])
    out: Any = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return out  # type: ignore[no-any-return]


def crop(keys: Pictures, width: int, height: int) -> Pictures:
    """The part of each square that has the video's shape."""
    side = keys.shape[1]
    w, h = box(width, height, side)
    left, top = (side - w) // 2, (side - h) // 2
    return np.ascontiguousarray(keys[:, top : top + h, left : left + w])
