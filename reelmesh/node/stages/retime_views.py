"""retime_views: views → the frames between them too, along the motion from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .base import ModelFree, StageContext, bad_input, one_thread_opencv
from .frames import FrameWriter, Picture, Pictures, read_frames
from .media import MAX_FRAMES, MediaLimits
from .motion import Pair, between


class RetimeViews(ModelFree):
    """Input `frames`, one run of views, and `after`, the next run; output `frames`.

    Each view is shown as it is, then `times - 1` frames on the way to the next one; after the
    very last view nothing is known, and it stays. The trajectory holds one digest a frame.
    """

    name = "retime_views"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Interpolates. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(MAX_FRAMES, params.width, params.height)
        views = read_frames(inputs["frames"], limits, 0, params.frames)
        if params.after:
            views = np.concatenate([views, read_frames(inputs["after"], limits, 0, 1)])
        if params.out > params.frames * params.times:
            raise bad_input(f"{params.out} frames are asked of {params.frames} views")
        path = ctx.workdir / "frames.mkv"
        with one_thread_opencv(), FrameWriter(path, params.width, params.height) as writer:
            for done, picture in enumerate(retime(views, params.times, params.out)):
                ctx.progress(done / params.out, f"frame {done + 1} of {params.out}")
                ctx.step(picture.tobytes())
                writer.write(picture)
        ctx.progress(1.0)
        return {"frames": path}


def retime(views: Pictures, times: int, out: int) -> Iterator[Picture]:
    """Yields `out` pictures, `times` for each of uint8 [T, H, W, 3]."""
    pair: Pair | None = None
    for number in range(out):
        k, step = divmod(number, times)
        if step == 0 or k + 1 >= len(views):
            yield views[k]
            continue
        if pair is None or pair.number != k:
            pair = Pair(k, views[k].astype(np.float32), views[k + 1].astype(np.float32))
        picture = between(pair, step / times, None)
        yield np.clip(np.rint(picture), 0, 255).astype(np.uint8)
