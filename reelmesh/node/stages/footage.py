"""Opening a stranger's video safely, and the pictures in it with the times they are shown at."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error

from reelmesh.scheduler.stages.decode_video import MAX_FOOTAGE_S, MAX_PIXELS

from .base import StageFailed
from .footage_header import bad_footage, container_of
from .media import DISK_FULL

MAX_SIDE = 4096
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d"})
# FFmpeg's own VP8 and VP9 decoders leave the alpha plane out.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_MOST_PER_S, _LEAD_S = 240, 60
_MOST_CPU_S = 600.0  # of decoding, for all the pictures of a stretch
# The container is named, never probed, and no other file may be opened. The size is checked by
# the decoder itself: it can change in mid-stream, and is not known before.
_OPTIONS = {
    "protocol_whitelist": "file",
    "enable_drefs": "0",
    "max_pixels": str(MAX_PIXELS),
    "threads": "1",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture as it was coded; `at` and `until` are seconds from the video's beginning."""

    at: float
    until: float
    frame: Any


class Reel:
    """An open video: one stream of pictures. duration: in seconds, 0 where the file says none."""

    def __init__(self, media: Any) -> None:
        self._media = media
        streams = [s for s in media.streams.video if not int(s.disposition) & 0x400]  # a cover
        if not streams:
            raise bad_footage("it has no video in it")
        self.stream = streams[0]
        context = self.stream.codec_context
        if context is None or context.name not in _CODECS:
            raise bad_footage(f"its codec is {getattr(context, 'name', 'unknown')[:20]}")
        check_size(context.width, context.height)
        self.audio = len(media.streams.audio) > 0
        self.rate = float(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.duration = self._duration()
        if self.duration > MAX_FOOTAGE_S:
            raise bad_footage(f"it is longer than {MAX_FOOTAGE_S // 3600} hours")
        self._tick = self.stream.time_base
        self._zero = self.stream.start_time or 0
        self._decoder = self._make_decoder()

    def _duration(self) -> float:
        if self.stream.duration is not None and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return (self._media.duration or 0) / 1e6

    def _make_decoder(self) -> Any:
        context = self.stream.codec_context
        name = _ALPHA_DECODERS.get(context.name)
        if name is None or self.stream.metadata.get("alpha_mode") != "1":
            context.thread_count = 1
            return context
        decoder = av.CodecContext.create(name, "r")
        decoder.options = {"max_pixels": str(MAX_PIXELS)}
        decoder.thread_count = 1
        decoder.extradata = context.extradata
        return decoder

    def pictures(self, start: float, stop: float) -> Iterator[Shown]:
        """Pictures in the order of their times: the one that is shown at `start`, and those after.

        Raises:
            StageFailed: "bad_input", also where there are far more pictures than are needed.
        """
        before, last = None, -1.0
        given_up = time.thread_time() + _MOST_CPU_S
        most = int(_MOST_PER_S * (stop - start + _LEAD_S))
        for number, frame in enumerate(self._decoded(start)):
            if number >= most:
                raise bad_footage("it has too many pictures, or no key frame near the start")
            if time.thread_time() > given_up:
                raise bad_footage(f"decoding it takes more than {_MOST_CPU_S:.0f} s")
            check_size(frame.width, frame.height)
            if frame.is_corrupt:
                raise bad_footage(f"it is damaged at {max(last, 0):.1f} s")
            at = self._time(frame, last)
            if at <= last:
                continue
            shown = Shown(at, at + self._length(frame), frame)
            if at <= start:
                before = shown
            elif before is not None:
                yield before
                before = None
            if at > start:
                yield shown
            last = at
        if before is not None:
            yield before

    def _decoded(self, start: float) -> Iterator[Any]:
        seconds = 0.0
        try:
            if start > 0:
                self._media.seek(self._zero + int(start / self._tick), stream=self.stream)
            for packet in self._media.demux(self.stream):
                for frame in self._decoder.decode(packet):
                    if frame.pts is not None:
                        seconds = float((frame.pts - self._zero) * self._tick)
                    yield frame
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError) or getattr(error, "errno", None) in DISK_FULL:
                raise
            raise bad_footage(f"it is damaged at {max(seconds, 0):.1f} s") from error

    def _time(self, frame: Any, last: float) -> float:
        if frame.pts is None:
            return max(last, 0.0) + 1 / self.rate
        return max(0.0, float((frame.pts - self._zero) * self._tick))

    def _length(self, frame: Any) -> float:
        return float(frame.duration * self._tick) if frame.duration else 1 / self.rate


def check_size(width: int, height: int) -> None:
    """Raises StageFailed ("bad_input") for pictures that no stage takes."""
    if min(width, height) < 1:
        raise bad_footage("it does not say how large its pictures are")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise bad_footage(f"its pictures are {width}x{height}, and 4096x2304 is the most")


@contextmanager
def open_footage(path: Path) -> Iterator[Reel]:
    """Opens a buyer's video.

    Raises:
        StageFailed: "bad_input": unreadable, of another format or codec, too large, cut short.
    """
    container = container_of(path)
    try:
        with av.open(str(path), "r", format=container, options=_OPTIONS) as media:
            yield Reel(media)
    except (MemoryError, StageFailed):
        raise
    except (av.error.FFmpegError, EOFError, ValueError) as error:
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        if getattr(error, "errno", None) == errno.EAGAIN:  # no room for a decoder's threads
            raise MemoryError("cannot allocate memory for decoding") from error
        raise bad_footage(f"it cannot be read: {str(error)[:80]}") from error
