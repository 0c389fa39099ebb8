"""refine: small frames → sharp ones, in the video's shape.

First of a clip's few key frames, before the frames between are made, so that motion is followed on
sharp outlines; and for the largest sizes once more, before the tiles are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .background import plain_colour, smoothed, widened
from .base import StageContext, one_thread_opencv
from .frames import FrameWriter, Picture, read_frames
from .media import MAX_FRAMES, MediaLimits
from .painting import FaithfulStage, Painter, Window


class Refine(FaithfulStage):
    """Pictures [start, stop) of `frames`, each run through the network and fitted to its new size.

    Where the shape is another the picture stands in the middle, whole, and its background goes on
    around it. The trajectory holds one digest a picture.
    """

    name = "refine"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Refines. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(MAX_FRAMES, params.from_width, params.from_height)
        small = read_frames(inputs["frames"], limits, params.start, params.stop)
        wide, high = params.width, params.height
        everything = (0, 0, params.from_width, params.from_height)
        painter = Painter(self.network, Window(everything), sparse=True)
        path = ctx.workdir / "frames.mkv"
        with one_thread_opencv(), FrameWriter(path, wide, high) as writer:
            plain = plain_colour(small)
            for number, picture in enumerate(small):
                ctx.progress(number / len(small), f"frame {number + 1} of {len(small)}")
                large, _ = painter.paint(picture)
                out = fitted(large, wide, high)
                if plain is not None:
                    out = smoothed(out, plain)
                out = widened(out, wide, high, plain)
                ctx.step(out.tobytes())
                writer.write(out)
        ctx.progress(1.0, f"{100 * painter.share:.0f}% of the pixels computed")
        return {"frames": path}


def fitted(picture: Picture, wide: int, high: int) -> Picture:
    """The picture in its own shape, as large as a box of `wide` x `high` holds it."""
    h, w = picture.shape[:2]
    scale = min(wide / w, high / h)
    size = (min(wide, round(w * scale)), min(high, round(h * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    out: Any = cv2.resize(picture, size, interpolation=how)
    return np.ascontiguousarray(out, dtype=np.uint8)
