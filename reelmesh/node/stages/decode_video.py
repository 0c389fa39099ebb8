"""decode_video: a stretch of the buyer's footage → upright SDR frames at one size and rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .base import ModelFree, StageContext, one_thread_opencv
from .developing import Developer
from .footage import Reel, Shown, open_footage
from .footage_header import bad_footage
from .frames import FrameWriter, Picture

_HOLD_S = 0.5  # how long the last picture may stay when the stretch goes on


class DecodeVideo(ModelFree):
    """Input `video`, output `frames`: exactly `params.frames` pictures of width x height.

    Variable frame rates are resampled by time: each frame is the picture that is on the screen in
    the middle of the frame's own time. The trajectory holds one digest a frame.
    """

    name = "decode_video"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Decodes. Raises StageFailed ("bad_input"), StageCancelled."""
        ctx.progress(0.0, "opening the video")
        path = ctx.workdir / "frames.mkv"
        with (
            one_thread_opencv(),
            open_footage(inputs["video"]) as reel,
            FrameWriter(path, params.width, params.height) as writer,
        ):
            shape = float(reel.stream.sample_aspect_ratio or 1)
            developer = Developer(params.width, params.height, params.fit, shape)
            for done, picture in enumerate(_stretch(reel, developer, params)):
                ctx.progress(done / params.frames, f"frame {done + 1} of {params.frames}")
                ctx.step(picture.tobytes())
                writer.write(picture)
        ctx.progress(1.0, "; ".join(developer.notes))
        return {"frames": path}


def _stretch(reel: Reel, developer: Developer, params: Any) -> Iterator[Picture]:
    times = [params.start + (i + 0.5) / params.fps for i in range(params.frames)]
    shown: Shown | None = None
    for chosen in on_screen(reel, times):
        if chosen is not shown:
            shown, picture = chosen, developer.picture(chosen.frame)
        yield picture


def on_screen(reel: Reel, times: list[float]) -> Iterator[Shown]:
    """For each of the rising times the picture that is shown then; the last one is held a little.

    Raises:
        StageFailed: "bad_input": the video ends before; and what decoding raises.
    """
    source = reel.pictures(times[0], times[-1])
    shown = next(source, None)
    if shown is None:
        raise bad_footage(_too_short(reel, 0.0, times[-1]))
    following = next(source, None)
    for time in times:
        while following is not None and following.at <= time:
            shown, following = following, next(source, None)
        if following is None and time > shown.until + _HOLD_S:
            raise bad_footage(_too_short(reel, shown.until, times[-1]))
        yield shown


def _too_short(reel: Reel, end: float, wanted: float) -> str:
    if end == 0:
        return "there is no picture in it"
    if reel.duration > end + 2 * _HOLD_S:
        return f"it is cut short: its pictures end at {end:.1f} s of {reel.duration:.1f} s"
    return f"it ends at {end:.1f} s, and {wanted:.1f} s of it were asked for"
