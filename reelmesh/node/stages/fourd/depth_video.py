"""The artifact kind "depth": disparity 0..1 in 1024 steps, exactly, as grey video.

H.264 of 10 bits with quantiser 0 in Matroska; the colour planes say nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from reelmesh.node.stages.base import bad_input
from reelmesh.node.stages.media import MediaLimits, open_media

STEPS = 1023
_FORMAT = "yuv420p10le"
_GREY = 512

Disparities = NDArray[np.float32]  # [T, H, W], 0..1, nearer is larger


def write_depth(path: Path, disparities: Disparities) -> Path:
    """Writes float32 [T, H, W] in 0..1; H and W are even. The same values give the same bytes."""
    count, height, width = disparities.shape
    levels = np.clip(np.rint(disparities * STEPS), 0, STEPS).astype(np.uint16)
    plane = np.full((height * 3 // 2, width), _GREY, np.uint16)
    with av.open(str(path), "w", format="matroska", options={"fflags": "+bitexact"}) as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, _FORMAT
        stream.options = {"preset": "veryfast", "qp": "0", "threads": "1", "bf": "0"}
        stream.codec_context.thread_count = 1
        for number in range(count):
            plane[:height] = levels[number]
            frame: Any = av.VideoFrame.from_ndarray(plane, format=_FORMAT)
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def read_depth(
    path: Path, frames: int, height: int, width: int, start: int = 0, stop: int | None = None
) -> Disparities:
    """Disparity [stop - start, H, W] of a file of at most `frames` frames; all without `stop`.

    Raises:
        StageFailed: "bad_input": not such a file, damaged, of another size, or too short or long.
    """
    found: list[Disparities] = []
    with open_media(path, "matroska", MediaLimits(frames, width, height)) as media:
        media.streams.video[0].thread_count = 1
        for number, frame in enumerate(media.decode(video=0)):
            if number >= frames or frame.is_corrupt or frame.format.name != _FORMAT:
                raise bad_input(f"{path.name} is damaged, or is no depth of {frames} frames")
            if (frame.height, frame.width) != (height, width):
                raise bad_input(f"{path.name} changes its size")
            if number >= start:
                plane: Any = frame.to_ndarray(format=_FORMAT)
                found.append(plane[:height].astype(np.float32) / STEPS)
            if stop is not None and number + 1 >= stop:
                break
    if not found or (stop is not None and len(found) != stop - start):
        raise bad_input(f"{path.name} has {start + len(found)} frames of depth, not {stop or '1+'}")
    return np.stack(found)
