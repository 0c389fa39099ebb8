"""What the first bytes and the layout of a video file say, read without decoding anything."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from .base import StageFailed

MAX_BYTES = 1 << 30
_MP4_STARTS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_MAX_BOXES = 100_000


def bad_footage(why: str) -> StageFailed:
    """The error for a video that cannot be used; `why` starts in lower case."""
    return StageFailed(
        "bad_input",
        f"the video cannot be used: {why}",
        "give an MP4, MOV, MKV or WebM file with H.264, HEVC, VP8, VP9 or AV1 video",
    )


def container_of(path: Path) -> str:
    """FFmpeg's name of the container: "mov" (MP4, MOV) or "matroska" (MKV, WebM).

    Raises:
        StageFailed: "bad_input": empty, too large, another format, or cut short.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise bad_footage(f"it has {size} bytes, and 1 to {MAX_BYTES} are taken")
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in _MP4_STARTS:
            _walk_boxes(file, size)
            return "mov"
        if head[:4] == _EBML.to_bytes(4, "big"):
            _walk_elements(file, size)
            return "matroska"
    raise bad_footage("it is no MP4, MOV, MKV or WebM")


def _walk_boxes(file: BinaryIO, size: int) -> None:
    """MP4: boxes fill the file from end to end, and one of them is the index."""
    at, seen = 0, set()
    for _ in range(_MAX_BOXES):
        if at == size:
            break
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            raise bad_footage("it is cut short")
        length = int(struct.unpack(">I", head[:4])[0])
        seen.add(head[4:8])
        if length == 1 and len(head) == 16:
            length = int(struct.unpack(">Q", head[8:16])[0])
        elif length == 0:  # to the end of the file
            length = size - at
        if length < 8:
            raise bad_footage("it is damaged")
        at += length
        if at > size:
            raise bad_footage("it is cut short")
    if b"moov" not in seen:
        raise bad_footage("it is cut short, or was never finished: it has no index")


def _walk_elements(file: BinaryIO, size: int) -> None:
    """Matroska: the header, then a segment no longer than the file, if it says how long."""
    at = 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        ident, ident_length = _number(file, keep_marker=True)
        length, length_length = _number(file, keep_marker=False)
        start = at + ident_length + length_length
        if length == (1 << 7 * length_length) - 1:  # unknown, as a live recording has it
            return
        if start + length > size:
            raise bad_footage("it is cut short")
        if ident == _SEGMENT:
            return
        at = start + length
    raise bad_footage("it is damaged")


def _number(file: BinaryIO, *, keep_marker: bool) -> tuple[int, int]:
    """A variable-length number of EBML, and how many bytes it has."""
    first = file.read(1)
    if not first or not first[0]:
        raise bad_footage("it is damaged or cut short")
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) != length - 1:
        raise bad_footage("it is cut short")
    value = first[0] if keep_marker else first[0] & ((1 << (8 - length)) - 1)
    return int.from_bytes(bytes([value]) + rest, "big"), length
