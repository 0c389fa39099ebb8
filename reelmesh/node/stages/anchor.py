"""anchor: the model's clip, held to the picture that it has to begin with.

The model draws simple shapes on plain backgrounds. Where its clip begins much as the picture does,
what it lost of the picture is put back: its colours for good, its fine detail for as long as
the things in it look the same, both moved along with the object. Where the picture is beyond what
the model can draw, as a photograph is, nothing of the clip could stand beside it: then the picture
itself is moved as a whole along the path that the model drew, and never shows its border.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .base import ModelFree, StageContext, one_thread_opencv
from .encode_image import SIZE, box
from .frames import Picture, Pictures, read_frames, write_frames
from .media import MediaLimits
from .track import Image, Track, follow

CLIP_FRAMES, CLIP_SIZE = 16, 64
LIKE_DB = 22.0
"""From this PSNR on, the model's first picture is taken to show the same as the buyer's."""
_DETAIL_FRAMES = 4  # key frames over which the picture's fine detail is given up
_COARSE = 6.0  # pixels of 64, standard deviation: what counts as colour and not as detail
_SHARE = 0.2  # of the model's motion that the whole picture takes part in
_FARTHEST = 0.1  # of the picture's side
_ZOOM = 1.12  # where the model's clip gives no path to follow


class Anchor(ModelFree):
    """Inputs `frames` (the clip) and `picture`, output `frames`: 16 key frames of the video's shape.

    They are at most 64 pixels wide and high where the clip was used, 256 where the picture was.
    """  # noqa: E501

    name = "anchor"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Anchors. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(CLIP_FRAMES, CLIP_SIZE, CLIP_SIZE)
        clip = read_frames(inputs["frames"], limits, 0, CLIP_FRAMES)
        picture = read_picture(inputs["picture"])
        ctx.progress(0.0, "comparing the clip with the picture")
        with one_thread_opencv():
            like = psnr(clip[0], shrink(picture, CLIP_SIZE)) >= LIKE_DB
            keys = restore(clip, picture) if like else move_whole(clip, picture)
        keys = crop(keys, params.width, params.height)
        ctx.step(keys.tobytes())
        out = write_frames(ctx.workdir / "frames.mkv", keys)
        ctx.progress(1.0, "" if like else "beyond the model's world: the picture moves as a whole")
        return {"frames": out}


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


def restore(clip: Pictures, picture: Picture) -> Pictures:
    """The clip with what it lost of the picture; the first one is the picture, to the bit."""
    lost = shrink(picture, CLIP_SIZE).astype(np.float32) - clip[0]
    colour: Any = cv2.GaussianBlur(lost, (0, 0), _COARSE, borderType=cv2.BORDER_REPLICATE)
    track = follow([frame.astype(np.float32) for frame in clip])
    keys = []
    for number, frame in enumerate(clip):
        keep = max(0.0, 1 - number / _DETAIL_FRAMES)
        added = colour + np.float32(keep) * (lost - colour)
        if track is not None:
            added = _carry(added, track, number)
        keys.append(np.clip(np.rint(frame + added), 0, 255).astype(np.uint8))
    return np.stack(keys)


def _carry(added: Image, track: Track, number: int) -> Image:
    """What belongs to the object at the start, at the object's place and size later."""
    start, size = track.at(0)
    centre, now = track.at(number)
    scale = now / size
    matrix = np.array([[scale, 0, centre[0] - scale * start[0]],
                       [0, scale, centre[1] - scale * start[1]]])  # fmt: skip
    return _warp(added, matrix)


def move_whole(clip: Pictures, picture: Picture) -> Pictures:
    """The picture under a camera that goes the model's way, zoomed so far that no border shows."""
    track = follow([frame.astype(np.float32) for frame in clip])
    keys = [picture]
    for number in range(1, len(clip)):
        if track is None:
            part = number / (len(clip) - 1)
            away, scale = np.zeros(2), 1 + (_ZOOM - 1) * part
        else:
            start, size = track.at(0)
            centre, now = track.at(number)
            away = np.clip(_SHARE * (centre - start) / CLIP_SIZE, -_FARTHEST, _FARTHEST) * SIZE
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
