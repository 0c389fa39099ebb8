"""The artifact kind "frames": uint8 RGB pictures, exactly, as video.

H.264 4:4:4 RGB with quantiser 0 (libx264rgb) in Matroska: what is read is bit for bit what
was written, at a fraction of the size of raw pictures. The same pictures give the same bytes.
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
from .media import MAX_FRAMES, MAX_PIXELS, MediaLimits, open_media

CONTAINER = "matroska"
# The frame rate means nothing here; a round one keeps Matroska's milliseconds exact.
_RATE = 25

Picture = NDArray[np.uint8]  # [H, W, 3], sRGB
Pictures = NDArray[np.uint8]  # [T, H, W, 3], sRGB


class FrameWriter:
    """Writes pictures one by one; use as a context manager.

    with FrameWriter(path, width, height) as writer:
        writer.write(picture)  # uint8 [height, width, 3]
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
            raise ValueError(f"pictures of {width}x{height} cannot be written")
        self._shape = (height, width, 3)
        self._count = 0
        self._file = av.open(str(path), "w", format=CONTAINER, options={"fflags": "+bitexact"})
        stream = self._file.add_stream("libx264rgb", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        stream.options = {"preset": "veryfast", "qp": "0", "threads": "1", "bf": "0"}
        stream.codec_context.thread_count = 1
        self._stream = stream

    def write(self, picture: Picture) -> None:
        """Adds one uint8 [height, width, 3] picture. Raises ValueError for another shape."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(f"picture {picture.shape} {picture.dtype} is not {self._shape} uint8")
        frame: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = self._count
        self._count += 1
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Flushes and closes the file."""
        self._file.mux(self._stream.encode(None))
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def write_frames(path: Path, pictures: Pictures) -> Path:
    """Writes uint8 [T, H, W, 3] with T >= 1."""
    _, height, width, _ = pictures.shape
    with FrameWriter(path, width, height) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def iter_frames(path: Path, limits: MediaLimits, start: int = 0) -> Iterator[Picture]:
    """Yields pictures uint8 [H, W, 3], from number `start` on.

    Raises:
        StageFailed: "bad_input": not such a file, damaged, wrong picture size, or more
            than `limits.frames` pictures in it.
    """
    most = min(limits.frames, MAX_FRAMES)
    with open_media(path, CONTAINER, limits) as media:
        media.streams.video[0].thread_count = 1
        size = None
        for number, frame in enumerate(media.decode(video=0)):
            size = size or (frame.width, frame.height)
            if number >= most or frame.is_corrupt or (frame.width, frame.height) != size:
                raise bad_input(f"{path.name} is damaged, or has more than {most} pictures")
            if frame.format.name not in ("gbrp", "rgb24", "bgr24", "bgr0"):
                raise bad_input(f"{path.name} holds {frame.format.name}, not RGB pictures")
            if number >= start:
                picture: Any = frame.to_ndarray(format="rgb24")
                yield picture


def read_frames(
    path: Path, limits: MediaLimits, start: int = 0, stop: int | None = None
) -> Pictures:
    """Pictures [start, stop) as uint8 [stop - start, H, W, 3]; all from `start` without `stop`.

    Reading ends at `stop`: what follows is not looked at.

    Raises:
        StageFailed: "bad_input", also where the file has fewer than `stop` pictures.
    """
    pictures: list[Picture] = []
    source = iter_frames(path, limits, start)
    try:
        for picture in source:
            pictures.append(picture)
            if stop is not None and start + len(pictures) >= stop:
                break
    finally:
        source.close()  # type: ignore[attr-defined]
    if not pictures or (stop is not None and len(pictures) != stop - start):
        raise bad_input(f"{path.name} has {start + len(pictures)} pictures, not {stop or '1+'}")
    return np.stack(pictures)
