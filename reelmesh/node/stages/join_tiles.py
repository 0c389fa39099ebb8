"""join_tiles: tiles → an H.264 segment of whole frames, as `encode_video` makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np

from reelmesh.scheduler.sizes import tile_box

from .base import ModelFree, StageContext, bad_input
from .encode_video import describe_colours, segment_stream
from .media import MediaLimits
from .tiles import Planes, iter_tile

Box = tuple[int, int, int, int]


class JoinTiles(ModelFree):
    """Inputs `tile-0` …, row by row, output `segment`. One picture is in memory at a time."""

    name = "join_tiles"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Makes exactly `params.frames` pictures. Raises StageFailed, StageCancelled."""
        path = ctx.workdir / "segment.mp4"
        count = 0
        with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
            stream: Any = segment_stream(file, params)
            for planes in joined(params, inputs):
                ctx.progress(count / params.frames, f"frame {count + 1} of {params.frames}")
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                describe_colours(frame)
                frame.pts, frame.time_base = count, Fraction(1, params.fps)
                file.mux(stream.encode(frame))
                count += 1
            if count != params.frames:
                raise bad_input(f"there are {count} pictures, not {params.frames}")
            file.mux(stream.encode(None))
        ctx.step(path.read_bytes())
        ctx.progress(1.0)
        return {"segment": path}


def joined(params: Any, inputs: Mapping[str, Path]) -> Iterator[Planes]:
    """Whole pictures from tiles. Raises StageFailed ("bad_input")."""
    grid = (params.width, params.height, params.columns, params.rows)
    numbers = range(params.columns * params.rows)
    coded = [tile_box(*grid, number) for number in numbers]
    own = [tile_box(*grid, number, overlap=0) for number in numbers]
    sources = [
        iter_tile(
            inputs[f"tile-{number}"],
            MediaLimits(params.frames, box[2] - box[0], box[3] - box[1]),
        )
        for number, box in enumerate(coded)
    ]
    whole = np.empty((params.height * 3 // 2, params.width), np.uint8)
    for tiles in zip_longest(*sources):
        if any(tile is None for tile in tiles):
            raise bad_input("one tile has fewer pictures than another")
        for tile, box, part in zip(tiles, coded, own, strict=True):
            _place(whole, tile, box, part)
        yield whole


def _place(whole: Planes, tile: Planes, box: Box, part: Box) -> None:
    """Copies the `part` of the picture that a tile, which shows `box` of it, is there for."""
    left, top, right, bottom = part
    for to, of, step in zip(_split(whole), _split(tile), (1, 2, 2), strict=True):
        ys = slice((top - box[1]) // step, (bottom - box[1]) // step)
        xs = slice((left - box[0]) // step, (right - box[0]) // step)
        to[top // step : bottom // step, left // step : right // step] = of[ys, xs]


def _split(planes: Planes) -> Sequence[Planes]:
    """Y, U and V as views; U and V are packed one row behind the other."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    return luma, chroma[0], chroma[1]
