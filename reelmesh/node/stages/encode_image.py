"""encode_image: the buyer's picture → one upright square picture, as "frames"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reelmesh.scheduler.sizes import box

from .base import ModelFree, StageContext, one_thread_opencv
from .frames import Picture, write_frames
from .stills import read_still

SIZE = 256


class EncodeImage(ModelFree):
    """Input `image`, output `frames`: one SIZE x SIZE picture.

    The picture is put, whole and undistorted, into the largest box of the video's shape that the
    square holds; what stays free around it repeats its edges.
    """

    name = "encode_image"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Decodes and fits. Raises StageFailed ("bad_input"), StageCancelled."""
        ctx.progress(0.0, "decoding the picture")
        with one_thread_opencv():
            picture = fit(read_still(inputs["image"]), params.width, params.height)
        ctx.step(picture.tobytes())
        out = write_frames(ctx.workdir / "frames.mkv", picture[None])
        ctx.progress(1.0)
        return {"frames": out}


def fit(picture: Picture, width: int, height: int) -> Picture:
    """uint8 [h, w, 3] → uint8 [SIZE, SIZE, 3]."""
    room_w, room_h = box(width, height, SIZE)
    h, w = picture.shape[:2]
    scale = min(room_w / w, room_h / h)
    to_w, to_h = max(1, round(w * scale)), max(1, round(h * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(picture, (to_w, to_h), interpolation=how)
    left, top = (SIZE - to_w) // 2, (SIZE - to_h) // 2
    sides = (top, SIZE - to_h - top, left, SIZE - to_w - left)
    full: Any = cv2.copyMakeBorder(small, *sides, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(full, dtype=np.uint8)
