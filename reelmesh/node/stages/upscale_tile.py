"""upscale_tile: frames → one tile of the same frames, four times as large, by Real-ESRGAN.

The network sees REACH pixels around what it makes, so that tiles made apart agree where they meet.
At the picture's border it sees the border repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelmesh.scheduler.sizes import SCALE, quarter

from .base import StageContext, bad_input, one_thread_opencv
from .frames import iter_frames
from .media import MAX_FRAMES, MediaLimits
from .painting import FaithfulStage, Painter, Window
from .tiles import TileWriter


class UpscaleTile(FaithfulStage):
    """Pictures [start, stop) of `frames`: the tile of each, with its overlap.

    The trajectory holds one digest a picture: of its pixels, and of which cells were computed.
    """

    name = "upscale_tile"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Enlarges. Raises StageFailed ("bad_input"), StageCancelled."""
        start, todo = params.start, params.stop - params.start
        small = quarter(params.width, params.height)
        source = iter_frames(inputs["frames"], MediaLimits(MAX_FRAMES, *small), start)
        painter = Painter(self.network, window(params), sparse=params.sparse)
        left, top, right, bottom = params.box()
        path = ctx.workdir / "tile.mkv"
        done = 0
        with one_thread_opencv(), TileWriter(path, right - left, bottom - top) as writer:
            for picture in source:
                ctx.progress(done / todo, f"frame {start + done + 1} of {start + 1}..{params.stop}")
                tile, work = painter.paint(picture)
                ctx.step(tile.tobytes() + work.done.tobytes())
                writer.write(tile)
                done += 1
                if done == todo:
                    break
        source.close()  # type: ignore[attr-defined]
        if done != todo:
            raise bad_input(f"there are {start + done} pictures, not {params.stop}")
        ctx.progress(1.0, f"{100 * painter.share:.0f}% of the pixels computed")
        return {"tile": path}


def window(params: Any) -> Window:
    """Where the tile of some parameters lies."""
    wide, high = quarter(params.width, params.height)
    # What is too much, where four does not divide the size, is taken off on both sides.
    x_off, y_off = (SCALE * wide - params.width) // 2, (SCALE * high - params.height) // 2
    left, top, right, bottom = params.box()
    first_x, first_y = (left + x_off) // SCALE, (top + y_off) // SCALE
    source = (first_x, first_y, -(-(right + x_off) // SCALE), -(-(bottom + y_off) // SCALE))
    cut = (
        left + x_off - SCALE * first_x,
        top + y_off - SCALE * first_y,
        right - left,
        bottom - top,
    )
    return Window(source, cut)
