"""encode_video: frames → an H.264 segment that browsers play and `assemble` can join."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from .base import ModelFree, StageContext, bad_input
from .frames import Picture, iter_frames
from .media import MediaLimits

# No B-frames, so that a packet's times are its frame's number and segments join without
# reordering; one closed group of pictures a segment at most 2 s long; one thread and no
# adaptive keyframes, for equal bytes on a re-run.
_X264 = {
    "preset": "medium",
    "tune": "animation",
    "profile": "high",
    "bf": "0",
    "threads": "1",
    "sc_threshold": "0",
    "flags": "+cgop+bitexact",
}


class EncodeVideo(ModelFree):
    """Output `segment`: MP4, one H.264 yuv420p stream, BT.709, limited range, `params.fps`."""

    name = "encode_video"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Encodes exactly `params.frames` pictures. Raises StageFailed, StageCancelled."""
        limits = MediaLimits(params.frames, params.width, params.height)
        path = ctx.workdir / "segment.mp4"
        count = 0
        with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
            stream: Any = segment_stream(file, params)
            for picture in iter_frames(inputs["frames"], limits):
                ctx.progress(count / params.frames, f"frame {count + 1} of {params.frames}")
                file.mux(stream.encode(yuv(picture, count, params.fps)))
                count += 1
            if count != params.frames:
                raise bad_input(f"there are {count} pictures, not {params.frames}")
            file.mux(stream.encode(None))
        ctx.step(path.read_bytes())
        ctx.progress(1.0)
        return {"segment": path}


def segment_stream(file: Any, params: Any) -> Any:
    """A new stream for a segment of `params.width` x `params.height` at `params.fps` and `crf`."""
    stream = file.add_stream("libx264", rate=params.fps)
    stream.width, stream.height, stream.pix_fmt = params.width, params.height, "yuv420p"
    stream.options = _X264 | {"crf": str(params.crf), "g": str(2 * params.fps)}
    context = stream.codec_context
    context.thread_count = 1
    context.time_base = Fraction(1, params.fps)
    describe_colours(context)
    return stream


def describe_colours(what: Any) -> None:
    """Says of a codec context or a frame that it is BT.709 in limited range."""
    what.colorspace = Colorspace.ITU709
    what.color_primaries = ColorPrimaries.BT709
    what.color_trc = ColorTrc.BT709
    what.color_range = ColorRange.MPEG


def yuv(picture: Picture, number: int, fps: int) -> av.VideoFrame:
    """A uint8 [H, W, 3] picture as yuv420p, BT.709 in limited range, shown at `number` / `fps`."""
    rgb = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame = rgb.reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    frame.pts = number
    frame.time_base = Fraction(1, fps)
    return frame
