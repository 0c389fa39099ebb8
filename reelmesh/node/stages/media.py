"""Opening received media safely: known container and codec, bounded, errors as StageFailed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error

from .base import bad_input

if TYPE_CHECKING:
    from av.container import InputContainer

#: The most of anything that a stage will look at, whatever the parameters say.
MAX_BYTES = 2 << 30
MAX_SIDE = 4096
MAX_PIXELS = 4096 * 2304
MAX_FRAMES = 4096

#: Not the input's fault, though FFmpeg reports it while the input is read.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

# The container is named, never probed: a playlist or a concat script could name other
# files of this machine. The decoder gives up at the first damaged macroblock.
_OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0", "err_detect": "explode"}


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What a video may be: at most `frames` pictures, none with a side longer than `side`;
    width and height exact where given.
    """

    frames: int
    width: int | None = None
    height: int | None = None
    side: int = MAX_SIDE


@contextmanager
def open_media(path: Path, container: str, limits: MediaLimits) -> Iterator[InputContainer]:
    """Opens a file that must hold exactly one stream, H.264 video.

    Raises:
        StageFailed: "bad_input", also for what FFmpeg finds wrong inside the block.
    """
    if path.stat().st_size > MAX_BYTES:
        raise bad_input(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
    try:
        with av.open(str(path), "r", format=container, options=_OPTIONS) as media:
            _check(path.name, media, limits)
            yield media
    except MemoryError:
        raise
    except (av.error.FFmpegError, EOFError, ValueError) as error:
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        raise bad_input(f"{path.name} is not a readable video: {str(error)[:120]}") from error


def _check(name: str, media: InputContainer, limits: MediaLimits) -> None:
    if len(media.streams) != 1 or len(media.streams.video) != 1:
        raise bad_input(f"{name} must hold one video stream and nothing else")
    context = media.streams.video[0].codec_context
    if context is None or context.name != "h264":
        raise bad_input(f"{name} is not H.264 video")
    width, height = context.width, context.height
    if not 0 < min(width, height) <= max(width, height) <= limits.side or (
        width * height > MAX_PIXELS
    ):
        raise bad_input(f"{name} has pictures of {width}x{height}")
    if limits.width not in (None, width) or limits.height not in (None, height):
        raise bad_input(
            f"{name} has pictures of {width}x{height}, not {limits.width}x{limits.height}"
        )
