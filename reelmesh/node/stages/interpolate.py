"""interpolate: few frames → a smooth timeline, motion-compensated, at the same size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .base import ModelFree, StageContext, bad_input, one_thread_opencv
from .frames import FrameWriter, Picture, Pictures, iter_frames
from .media import MediaLimits
from .motion import Pair, between
from .track import Image, follow

MAX_SOURCES = 256
# Motion is found and followed on pictures of about this size: on 64x64 a shape's outline
# is two pixels wide.
WORK_SIDE = 256


class Interpolate(ModelFree):
    """Frames [start, stop) of a timeline of `total` that spans the source from end to end.

    Frame i shows source time i * (sources - 1) / (total - 1). The trajectory holds one
    digest a frame.
    """

    name = "interpolate"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Interpolates. Raises StageFailed ("bad_input"), StageCancelled."""
        limits = MediaLimits(MAX_SOURCES, side=max(params.side, WORK_SIDE))
        # As they are, one by one: as an array, and as floats, they would take many times as much.
        source = list(iter_frames(inputs["frames"], limits))
        if len(source) < 2:
            raise bad_input(f"cannot interpolate {len(source)} pictures")
        height, width, _ = source[0].shape
        path = ctx.workdir / "frames.mkv"
        todo = params.stop - params.start
        with one_thread_opencv(), FrameWriter(path, width, height) as writer:
            timeline = make_timeline(source, params.start, params.stop, params.total)
            for done, picture in enumerate(timeline):
                ctx.progress(done / todo, f"frame {done + 1} of {todo}")
                ctx.step(picture.tobytes())
                writer.write(picture)
        ctx.progress(1.0)
        return {"frames": path}


def make_timeline(
    source: Pictures | Sequence[Picture], start: int, stop: int, total: int
) -> Iterator[Picture]:
    """Yields uint8 [H, W, 3] pictures [start, stop) of `total` from T >= 2 of one size."""
    height, width = source[0].shape[:2]
    track = follow(_enlarge(picture) for picture in source)
    pair: Pair | None = None
    for i in range(start, stop):
        time = i * (len(source) - 1) / (total - 1)
        k = min(int(time), len(source) - 2)
        if pair is None or pair.number != k:
            pair = Pair(k, _enlarge(source[k]), _enlarge(source[k + 1]))
        picture = between(pair, time - k, track)
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        yield np.clip(np.rint(small), 0, 255).astype(np.uint8)


def _enlarge(picture: Picture) -> Image:
    times = max(1, WORK_SIDE // max(picture.shape[:2]))
    size = (picture.shape[1] * times, picture.shape[0] * times)
    large: Any = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return large  # type: ignore[no-any-return]
