"""Small videos of every awkward sort, made with PyAV for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
TICKS = 1000


def quarters(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """RGB: red and green above, blue and white below."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = 255
    return picture


def greys(count: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """Flat pictures; number i has the brightness 20 + 10 i."""
    return [np.full((height, width, 3), 20 + 10 * i, np.uint8) for i in range(count)]


def write_footage(
    path: Path,
    pictures: Sequence[Array],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    source_fmt: str = "rgb24",
    times_ms: Sequence[int] | None = None,
    fps: int = 25,
    tags: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    audio: bool = False,
    rotation: int | None = None,
    format_options: dict[str, str] | None = None,
) -> Path:
    """A video with one picture at each time, in milliseconds; at `fps` without times.

    tags: colour tags by the names of a codec context's attributes.
    """
    times = times_ms or [round(i * TICKS / fps) for i in range(len(pictures))]
    with av.open(str(path), "w", options=format_options or {}) as file:
        stream: Any = file.add_stream(codec, rate=fps)
        height, width = pictures[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = options or ({"crf": "8"} if codec.startswith("libx26") else {})
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.thread_count = 1
        for name, value in (tags or {}).items():
            setattr(context, name, value)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        sound: Any = file.add_stream("aac", rate=8000) if audio else None
        for picture, at in zip(pictures, times, strict=True):
            frame: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), source_fmt)
            frame = frame if source_fmt == pix_fmt else frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = at, Fraction(1, TICKS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if sound is not None:
            _add_silence(file, sound, times[-1] / TICKS)
    return path


def _add_silence(file: Any, sound: Any, seconds: float) -> None:
    for block in range(int(seconds * 8000) // 1024 + 1):
        frame: Any = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, block * 1024
        frame.time_base = Fraction(1, 8000)
        file.mux(sound.encode(frame))
    file.mux(sound.encode(None))
