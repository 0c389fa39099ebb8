"""What a buyer brings, looked at before anything is posted.

A picture or a video, just enough to name it and to refuse what cannot be used; a prompt, to say
what the built-in model cannot do with it.
"""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelmesh.node.cli.submitting import InvalidOption

if TYPE_CHECKING:
    from reelmesh.scheduler.sources import Footage, Picture

_WORLD = (
    "the built-in model knows shapes on plain backgrounds: one thing on a plain background moves "
    "by itself; any other picture, such as a photograph, moves as a whole"
)
_OFFER = "ask for a production model: reelmesh model list"
_LONGER, _SHORTER, _STEP = 512, 256, 64
_PIECE = 1 << 20
_PROBE_S = 30


@dataclass(frozen=True, slots=True)
class FootageFacts:
    """What a video file is.

    width, height: as it is seen, upright; seconds: its length; fps: pictures a second, on average;
    audio: whether it has sound; notes: what is done to its pictures when it is decoded.
    """

    width: int
    height: int
    seconds: float
    fps: float
    audio: bool
    notes: tuple[str, ...]


def picture_source(path: Path) -> Picture:
    """Hash and size of a picture file. Raises InvalidOption for what is none."""
    from reelmesh.scheduler.canonical import digest
    from reelmesh.scheduler.sources import MAX_SOURCE_BYTES, Picture

    most = MAX_SOURCE_BYTES["picture"]
    data = _read(path, most)
    if len(data) > most:
        raise InvalidOption(f"{path} is larger than {most >> 20} MiB", "make the picture smaller")
    _seen_shape(path, data)
    return Picture(sha256=digest(data), size=len(data))


def shape_for(path: Path) -> str:
    """A video's size in the picture's shape: 512 at the longer side, steps of 64, at least 256."""
    width, height = _seen_shape(path, _read(path, 64 << 20))
    return size_like(width, height)


def size_like(width: int, height: int) -> str:
    """A video's size in the shape width:height: see `shape_for`."""
    longer = max(width, height)
    sides = (max(_SHORTER, _STEP * round(_LONGER * n / longer / _STEP)) for n in (width, height))
    return "x".join(str(side) for side in sides)


def footage_source(path: Path) -> Footage:
    """Hash and size of a video file. Raises InvalidOption for what is none; decodes nothing."""
    from reelmesh.node.stages.base import StageFailed
    from reelmesh.node.stages.footage_header import container_of
    from reelmesh.scheduler.ids import ArtifactId
    from reelmesh.scheduler.sources import Footage

    digest, size = hashlib.sha256(), 0
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidOption(f"{path} is not a file", "give an MP4, MOV, MKV or WebM")
        container_of(path)
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise InvalidOption(f"cannot read {path}: {error.strerror}", "check the path") from error
    except StageFailed as error:
        raise InvalidOption(f"{path}: {error.message}", error.hint) from error
    return Footage(sha256=ArtifactId(digest.hexdigest()), size=size)


def footage_facts(path: Path) -> FootageFacts:
    """What a video file is, from its first picture. It is opened in a process of its own.

    Raises InvalidOption for what no provider could decode.
    """
    command = [sys.executable, "-m", "reelmesh.node.stages.probe_footage", str(path.absolute())]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_PROBE_S, stdin=subprocess.DEVNULL, check=True
        )
        told: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise InvalidOption(
            f"{path}: looking at the video took too long or too much memory",
            "convert it to a plain MP4 first",
        ) from error
    if "error" in told:
        raise InvalidOption(f"{path}: {told['error']}", told.get("hint", "take another file"))
    return FootageFacts(**{**told, "notes": tuple(told["notes"])})


def warnings(prompt: str, *, picture: bool = True) -> list[str]:
    """What a buyer should know of the built-in model before paying, in plain lines.

    Args:
        picture: The video begins with the buyer's picture, so only its motion is asked for.
    """
    from reelmesh.node.stages.tiny_t2v.language import other_language
    from reelmesh.node.stages.tiny_t2v.wide import understands
    from reelmesh.node.stages.tiny_t2v.world import MOTIONS

    told = [_WORLD] if picture else []
    language = other_language(prompt)
    if language is not None:
        told.append(
            f"the prompt is {language}, as it seems, and the built-in model reads English only; "
            f"write it in English, or {_OFFER}"
        )
        return told
    found = understands(prompt)
    if picture and "motion" not in found.known:
        told.append(f"the prompt names no motion that the model knows: {', '.join(MOTIONS)}")
    beyond = None if picture else found.warning()
    if beyond is not None:
        told.append(f"beyond the built-in model's world: {beyond}; to have it drawn, {_OFFER}")
    return told


def _read(path: Path, most: int) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidOption(f"{path} is not a file", "give a PNG, JPEG or WebP")
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise InvalidOption(f"cannot read {path}: {error.strerror}", "check the path") from error


def _seen_shape(path: Path, data: bytes) -> tuple[int, int]:
    from reelmesh.node.stages.base import StageFailed
    from reelmesh.node.stages.still_header import is_whole, shape_of

    try:
        shape = shape_of(data)
    except StageFailed as error:
        raise InvalidOption(f"{path}: {error.message}", error.hint) from error
    if not is_whole(data):
        raise InvalidOption(f"{path} is cut short", "copy the picture again")
    return shape
