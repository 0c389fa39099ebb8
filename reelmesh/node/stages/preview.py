"""preview: the small clip's frames, enlarged plainly, as an H.264 MP4 at the video's own pace."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from reelmesh.scheduler.stages.preview import MAX_PREVIEW_FRAMES

from .base import ModelFree, StageContext, one_thread_opencv
from .frames import Picture, Pictures, read_frames
from .media import MediaLimits

_OPTIONS = {"preset": "veryfast", "profile": "high", "crf": "20", "bf": "0", "threads": "1"}


class Preview(ModelFree):
    """Output `video`: MP4, yuv420p, all frames of `frames` over `params.seconds`."""

    name = "preview"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Encodes. Raises StageFailed ("bad_input"), StageCancelled."""
        ctx.progress(0.0, "encoding")
        path = ctx.workdir / "preview.mp4"
        write_preview(inputs["frames"], path, params)
        ctx.step(path.read_bytes())
        ctx.progress(1.0)
        return {"video": path}


def write_preview(frames: Path, path: Path, params: Any) -> None:
    """Write the MP4. Raises StageFailed ("bad_input") for frames that cannot be read."""
    pictures = read_frames(frames, MediaLimits(MAX_PREVIEW_FRAMES))
    rate = Fraction(len(pictures) / params.seconds).limit_denominator(1000)
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with one_thread_opencv(), av.open(str(path), "w", format="mp4", options=options) as file:
        stream: Any = file.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = params.width, params.height, "yuv420p"
        stream.options = _OPTIONS | {"flags": "+bitexact"}
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / rate
        for number, picture in enumerate(_enlarged(pictures, params.width, params.height)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def _enlarged(pictures: Pictures, width: int, height: int) -> list[Picture]:
    """Widened to the shape as `upscale` does, by repeating the edges; then enlarged plainly."""
    h, w = pictures.shape[1:3]
    more_w, more_h = max(0, round(h * width / height) - w), max(0, round(w * height / width) - h)
    sides = (
        (0, 0),
        (more_h // 2, more_h - more_h // 2),
        (more_w // 2, more_w - more_w // 2),
        (0, 0),
    )
    wide = np.pad(pictures, sides, mode="edge")
    return [cv2.resize(p, (width, height), interpolation=cv2.INTER_CUBIC) for p in wide]
