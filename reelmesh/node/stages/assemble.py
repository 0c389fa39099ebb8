"""assemble: segments → one MP4, packet by packet, without encoding again."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from .base import ModelFree, StageContext, bad_input
from .media import MAX_FRAMES, MediaLimits, open_media

CONTAINER = "mp4"


class Assemble(ModelFree):
    """Inputs `segment-0` … `segment-<n-1>`, output `video`: MP4 with its index in front.

    Every segment must have the same codec parameters, start with a keyframe and hold its
    packets in display order at `params.fps`, as `encode_video` makes them.
    """

    name = "assemble"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Joins the segments in order. Raises StageFailed ("bad_input"), StageCancelled."""
        names = [f"segment-{i}" for i in range(params.segments)]
        if set(inputs) != set(names):
            raise bad_input(f"{len(inputs)} segments were given, not {params.segments}")
        path = ctx.workdir / "video.mp4"
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", format=CONTAINER, options=options) as file:
            joiner = _Joiner(file, params.fps)
            for i, name in enumerate(names):
                ctx.progress(i / len(names), f"segment {i + 1} of {len(names)}")
                joiner.add(inputs[name])
        ctx.step(path.read_bytes())
        ctx.progress(1.0)
        return {"video": path}


class _Joiner:
    def __init__(self, file: Any, fps: int) -> None:
        self._file = file
        self._fps = fps
        self._stream: Any = None
        self._like: tuple[Any, ...] | None = None
        self._count = 0

    def add(self, path: Path) -> None:
        with open_media(path, CONTAINER, MediaLimits(MAX_FRAMES)) as media:
            source: Any = media.streams.video[0]
            self._match(path.name, source)
            before = self._count
            for packet in media.demux(source):
                if packet.size:
                    self._put(path.name, packet, first=self._count == before)
            if self._count == before:
                raise bad_input(f"{path.name} has no pictures")

    def _match(self, name: str, source: Any) -> None:
        context = source.codec_context
        like = (
            context.width,
            context.height,
            context.pix_fmt,
            source.average_rate,
            source.time_base,
            bytes(context.extradata or b""),
        )
        if source.average_rate != self._fps or context.pix_fmt != "yuv420p":
            raise bad_input(f"{name} is {context.pix_fmt} at {source.average_rate} pictures/s")
        if self._like is None:
            self._like = like
            self._stream = self._file.add_stream_from_template(source)
            self._stream.time_base = source.time_base
        elif like != self._like:
            raise bad_input(f"{name} was encoded with other settings than the first segment")

    def _put(self, name: str, packet: Any, first: bool) -> None:
        if packet.pts is None or packet.pts != packet.dts or packet.is_corrupt:
            raise bad_input(f"{name} has packets out of display order or damaged")
        if first and (not packet.is_keyframe or packet.pts != 0):
            raise bad_input(f"{name} does not start with a keyframe at 0")
        if self._count >= MAX_FRAMES:
            raise bad_input(f"the video would have more than {MAX_FRAMES} pictures")
        tick = Fraction(1, self._fps) / packet.time_base
        packet.pts = packet.dts = round(self._count * tick)
        packet.duration = round(tick)
        packet.stream = self._stream
        self._count += 1
        self._file.mux(packet)
