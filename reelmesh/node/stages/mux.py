"""mux: a silent video and its sound → one MP4; the pictures' packets are copied, not encoded."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from .base import ModelFree, StageContext, bad_input
from .media import MAX_FRAMES, MediaLimits, open_media
from .sounds import RATE, Pcm, audio_frame, read_sound

CONTAINER = "mp4"
BIT_RATE = 160_000
_BLOCK = 1024  # samples of one AAC frame


class Mux(ModelFree):
    """Inputs `video` (as `assemble` makes it) and `sound`; output `video` with H.264 and AAC.

    The sound must be as long as the pictures, to one frame; it is cut, or silence added, so that
    both end together. Both begin at 0: the encoder's own delay is told to players by an edit list.
    """

    name = "mux"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Joins the two. Raises StageFailed ("bad_input"), StageCancelled."""
        pcm = _fitted(read_sound(inputs["sound"]), params)
        path = ctx.workdir / "video.mp4"
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with (
            open_media(inputs["video"], CONTAINER, MediaLimits(MAX_FRAMES)) as media,
            av.open(str(path), "w", format=CONTAINER, options=options) as file,
        ):
            source: Any = media.streams.video[0]
            if source.average_rate != params.fps:
                raise bad_input(f"the video has {source.average_rate} pictures/s, not {params.fps}")
            pictures: Any = file.add_stream_from_template(source)
            pictures.time_base = source.time_base
            sound = _Sound(file, pcm)
            count = 0
            for packet in media.demux(source):
                if not packet.size:
                    continue
                ctx.progress(count / params.frames, "putting sound to the video")
                count += 1
                if packet.is_corrupt or packet.pts is None or count > params.frames:
                    raise bad_input(f"the video is damaged or has not {params.frames} pictures")
                sound.write_until(Fraction(count, params.fps))
                packet.stream = pictures
                file.mux(packet)
            if count != params.frames:
                raise bad_input(f"the video has {count} pictures, not {params.frames}")
            sound.close()
        ctx.step(path.read_bytes())
        ctx.progress(1.0)
        return {"video": path}


def _fitted(pcm: Pcm, params: Any) -> Pcm:
    """Exactly as long as the pictures."""
    import numpy as np

    wanted = round(Fraction(params.frames, params.fps) * RATE)
    if abs(pcm.shape[1] - wanted) > RATE / params.fps:
        raise bad_input(f"the sound lasts {pcm.shape[1] / RATE:.3f} s, not {wanted / RATE:.3f}")
    return np.pad(pcm, ((0, 0), (0, max(0, wanted - pcm.shape[1]))))[:, :wanted]


class _Sound:
    """The file's second stream, written so far as the pictures are."""

    def __init__(self, file: Any, pcm: Pcm) -> None:
        self._file, self._pcm, self._at = file, pcm, 0
        stream = file.add_stream("aac", rate=RATE)
        stream.layout, stream.format = ("mono", "stereo")[len(pcm) - 1], "fltp"
        stream.bit_rate = BIT_RATE
        stream.codec_context.thread_count = 1
        stream.options = {"flags": "+bitexact", "threads": "1"}
        self._stream = stream
        self._resampler = av.AudioResampler("fltp", stream.layout, RATE)

    def write_until(self, seconds: Fraction) -> None:
        while self._at < min(self._pcm.shape[1], seconds * RATE):
            block = self._pcm[:, self._at : self._at + _BLOCK]
            for frame in self._resampler.resample(audio_frame(block, self._at)):
                self._file.mux(self._stream.encode(frame))
            self._at += block.shape[1]

    def close(self) -> None:
        self._file.mux(self._stream.encode(None))
