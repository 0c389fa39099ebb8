"""anchor: the model's clips and the buyer's picture → a stretch of the timeline, from the picture.

The model draws simple shapes on plain backgrounds at 64x64, each motion from its usual place on; no
picture of a buyer's looks just like that. So the clips say how things go, and the picture how they
look. A picture of one thing on a plain background is cut in two, and the thing goes the way that
the model's goes. Any other picture, such as most photographs, is beyond the model's world: its
scenery drifts in depth, as under a camera that follows the model's way, a figure that can be told
from it goes further than what is behind it, and the border never shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reelmesh.scheduler.sizes import box

from .base import ModelFree, StageContext, one_thread_opencv
from .course import course_of
from .cutout import cut_out, path_of
from .encode_image import SIZE
from .frames import FrameWriter, Picture, Pictures, read_frames
from .media import MediaLimits
from .scenery import Camera, scenery_of

CLIP_FRAMES, CLIP_SIZE = 16, 64
Shot = Callable[[int], Picture]


class Anchor(ModelFree):
    """Inputs `clip-0` … and `picture`, output `frames`: frames [start, stop) of the timeline.

    They have the video's shape, their longer side has SIZE pixels, and frame 0 is the buyer's
    picture. Every stretch is made from all clips, so that neighbours agree on every frame that
    both could make. The trajectory holds one digest a frame.
    """

    name = "anchor"
    version = 2

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Anchors. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(CLIP_FRAMES, CLIP_SIZE, CLIP_SIZE)
        names = [f"clip-{i}" for i in range(params.clips)]
        clips = [read_frames(inputs[name], limits, 0, CLIP_FRAMES) for name in names]
        picture = read_picture(inputs["picture"])
        path = ctx.workdir / "frames.mkv"
        ctx.progress(0.0, "comparing the clips with the picture")
        todo = params.stop - params.start
        size = box(params.width, params.height, SIZE)
        with one_thread_opencv(), FrameWriter(path, *size) as writer:
            shot, note = shots(clips, picture, params.total, params.fps, params.clip_s())
            for done, frame in enumerate(_cropped(shot, params)):
                ctx.progress(done / todo, note)
                ctx.step(frame.tobytes())
                writer.write(frame)
        ctx.progress(1.0, note)
        return {"frames": path}


def shots(
    clips: list[Pictures], picture: Picture, total: int, fps: int, clip_s: float
) -> tuple[Shot, str]:
    """What makes frame 0..total-1 of a video from a square picture, and what is done, in words."""
    course = course_of(clips, total, fps, clip_s)
    cutout = cut_out(picture)
    if cutout is not None and course is not None:
        matrices = path_of(course, cutout)
        return lambda i: cutout.moved(matrices[i]), "the thing in the picture goes the model's way"
    scenery, camera = scenery_of(picture), Camera(course, total, fps)
    what = "scenery" if scenery.figure is None else "scenery and a figure"
    return lambda i: camera.shot(scenery, i), f"beyond the model's world: {what} drift in depth"


def _cropped(shot: Shot, params: Any) -> Iterator[Picture]:
    for number in range(params.start, params.stop):
        yield crop(shot(number)[None], params.width, params.height)[0]


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


def crop(keys: Pictures, width: int, height: int) -> Pictures:
    """The part of each square that has the video's shape."""
    side = keys.shape[1]
    w, h = box(width, height, side)
    left, top = (side - w) // 2, (side - h) // 2
    return np.ascontiguousarray(keys[:, top : top + h, left : left + w])
