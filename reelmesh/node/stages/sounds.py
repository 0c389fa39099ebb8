"""The artifact kind "sound": FLAC, 48 kHz, 16 bits, one or two channels; exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from .base import bad_input
from .media import DISK_FULL

RATE = 48_000
MAX_SECONDS = 21
MAX_BYTES = MAX_SECONDS * RATE * 2 * 2 + (64 << 10)
_BLOCK = 4096
_LAYOUTS = {1: "mono", 2: "stereo"}

Sound = NDArray[np.float64]  # [channels, samples], -1..1
Pcm = NDArray[np.int16]  # [channels, samples]


def to_pcm(sound: Sound) -> Pcm:
    """-1..1 → 16 bits, rounded; beyond is cut."""
    pcm: Pcm = np.clip(np.rint(sound * 32767), -32767, 32767).astype(np.int16)
    return pcm


def write_sound(path: Path, pcm: Pcm) -> Path:
    """Writes int16 [1 or 2 channels, samples >= 1]. The same samples give the same bytes."""
    channels, samples = pcm.shape
    with av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"}) as file:
        stream: Any = file.add_stream("flac", rate=RATE)
        stream.layout, stream.format = _LAYOUTS[channels], "s16"
        stream.codec_context.thread_count = 1
        stream.options = {"flags": "+bitexact", "threads": "1"}
        for start in range(0, samples, _BLOCK):
            file.mux(stream.encode(audio_frame(pcm[:, start : start + _BLOCK], start)))
        file.mux(stream.encode(None))
    return path


def audio_frame(pcm: Pcm, start: int) -> Any:
    """Samples int16 [channels, n] as a frame that begins at sample `start`."""
    packed = np.ascontiguousarray(pcm.T).reshape(1, -1)
    frame: Any = av.AudioFrame.from_ndarray(packed, format="s16", layout=_LAYOUTS[len(pcm)])
    frame.sample_rate = RATE
    frame.pts = start
    return frame


def read_sound(path: Path, most_s: float = MAX_SECONDS) -> Pcm:
    """The samples, int16 [1 or 2 channels, n >= 1].

    Raises:
        StageFailed: "bad_input": not FLAC, another rate, depth or number of channels, damaged, or
            longer than `most_s`.
    """
    if path.stat().st_size > MAX_BYTES:
        raise bad_input(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
    most, count, blocks = int(min(most_s, MAX_SECONDS) * RATE), 0, []
    try:
        # The container is named, never probed, and no other file is opened from within it.
        options = {"protocol_whitelist": "file", "err_detect": "explode"}
        with av.open(str(path), "r", format="flac", options=options) as file:
            stream = _stream(path.name, file)
            for frame in file.decode(stream):
                _check(path.name, frame, stream)
                count += frame.samples
                if count > most:
                    raise bad_input(f"{path.name} lasts longer than {most / RATE:.1f} s")
                blocks.append(frame.to_ndarray().reshape(frame.samples, -1).T)
    except MemoryError:
        raise
    except (av.error.FFmpegError, EOFError, ValueError) as error:
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        raise bad_input(f"{path.name} is not a readable sound: {str(error)[:120]}") from error
    if not blocks:
        raise bad_input(f"{path.name} holds no sound")
    return np.concatenate(blocks, axis=1)


def _stream(name: str, file: Any) -> Any:
    # A cover picture would be a second stream.
    if len(file.streams) != 1 or len(file.streams.audio) != 1:
        raise bad_input(f"{name} must hold one stream of sound and nothing else")
    stream = file.streams.audio[0]
    stream.thread_count = 1
    return stream


def _check(name: str, frame: Any, stream: Any) -> None:
    channels = len(frame.layout.channels)
    if frame.format.name != "s16" or frame.sample_rate != RATE or channels not in _LAYOUTS:
        raise bad_input(f"{name} is {frame.format.name} at {frame.sample_rate} Hz")
    if channels != len(stream.layout.channels) or frame.is_corrupt:
        raise bad_input(f"{name} is damaged")
