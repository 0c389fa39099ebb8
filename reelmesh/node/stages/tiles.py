"""The artifact kind "tile": a part of some pictures, coded so finely that it can hardly be seen.

H.264 yuv420p, BT.709 in limited range as in the finished video, so that tiles are put together
without turning colours around again. Raw pictures of 4K are a hundred times larger.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray

from .base import bad_input
from .encode_video import describe_colours, yuv
from .frames import CONTAINER, Picture
from .media import MediaLimits, open_media

QUANTISER = 8
_RATE = 25  # means nothing: a tile's pictures are numbered

Planes = NDArray[np.uint8]  # [H * 3 / 2, W]: Y, then U and V at half size, as FFmpeg packs them


class TileWriter:
    """Writes uint8 [height, width, 3] pictures; use as a context manager."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self._count = 0
        self._file = av.open(str(path), "w", format=CONTAINER, options={"fflags": "+bitexact"})
        stream: Any = self._file.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {
            "preset": "veryfast",
            "qp": str(QUANTISER),
            "threads": "1",
            "bf": "0",
            "flags": "+bitexact",
        }
        stream.codec_context.thread_count = 1
        describe_colours(stream.codec_context)
        self._stream = stream

    def write(self, picture: Picture) -> None:
        """Adds one picture."""
        self._file.mux(self._stream.encode(yuv(picture, self._count, _RATE)))
        self._count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._file.mux(self._stream.encode(None))
        self._file.close()


def iter_tile(path: Path, limits: MediaLimits) -> Iterator[Planes]:
    """Yields a tile's pictures as planes.

    Raises:
        StageFailed: "bad_input": not such a file, damaged, another size, or too many pictures.
    """
    with open_media(path, CONTAINER, limits) as media:
        media.streams.video[0].thread_count = 1
        for number, frame in enumerate(media.decode(video=0)):
            shape = (frame.width, frame.height)
            if (
                number >= limits.frames
                or frame.is_corrupt
                or shape
                != (
                    limits.width,
                    limits.height,
                )
            ):
                raise bad_input(
                    f"{path.name} is damaged, or has more than {limits.frames} pictures"
                )
            if frame.format.name != "yuv420p":
                raise bad_input(f"{path.name} holds {frame.format.name}, not yuv420p pictures")
            planes: Any = frame.to_ndarray(format="yuv420p")
            yield planes
