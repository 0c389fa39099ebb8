"""Opening a stranger's picture safely: PNG, JPEG or WebP, bounded before a pixel is decoded.

OpenCV's decoders are called by the file's own signature, and the size is read from the header
first: a small file that claims an enormous picture costs nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .base import StageFailed, bad_input
from .frames import Picture

MAX_BYTES = 64 << 20
MAX_SIDE = 16384
MAX_PIXELS = 50_000_000


def read_still(path: Path) -> Picture:
    """The picture upright (EXIF), over white where it is transparent: uint8 [h, w, 3], RGB.

    Sixteen bits a channel are reduced to eight by their upper byte.

    Raises:
        StageFailed: "bad_input": empty, too large, another format, damaged or cut short.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise _bad(f"it has {size} bytes, and 1 to {MAX_BYTES} are taken")
    data = path.read_bytes()
    width, height = still_size(data)
    if min(width, height) < 1 or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise _bad(f"it is {width}x{height}, and {MAX_PIXELS // 10**6} megapixels are the most")
    if not _whole(data):
        raise _bad("it is cut short")
    try:
        # Any depth, colour, alpha. IMREAD_UNCHANGED leaves the orientation to us.
        found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _bad("it is damaged") from error
    if found is None or found.shape[:2] != (height, width):
        raise _bad("it is damaged")
    return upright(_plain(found), _orientation(data))


def still_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header, before any turning. Raises StageFailed ("bad_input")."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
            width, height = struct.unpack(">II", data[16:24])
            return int(width), int(height)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError) as error:
        raise _bad("it is cut short") from error
    raise _bad("it is no PNG, JPEG or WebP")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, at, _ in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 1 : at + 5])
            return int(width), int(height)
    raise _bad("it is damaged")


def _jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, end) of each header segment's body, up to the picture's data."""
    found: list[tuple[int, int, int]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and len(found) < 1000:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA or length < 2:
            break
        found.append((marker, at + 4, at + 2 + length))
        at += 2 + length
    return found


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return int(width) & 0x3FFF, int(height) & 0x3FFF
    raise _bad("it is damaged")


def _whole(data: bytes) -> bool:
    """Decoders fill up what is missing with grey; a buyer should hear of it instead."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-64:]
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return b"\xff\xd9" in data[-65536:]


def _plain(found: NDArray[Any]) -> Picture:
    """Grey, BGR or BGRA of 8, 16 or float bits → RGB of 8 bits, over white."""
    if found.dtype == np.uint16:
        found = (found >> 8).astype(np.uint8)
    elif found.dtype != np.uint8:
        raise _bad(f"its samples are {found.dtype}")
    if found.ndim == 2:
        found = cv2.cvtColor(found, cv2.COLOR_GRAY2BGR)
    if found.shape[2] == 4:
        cover = found[:, :, 3:].astype(np.uint16)
        mixed = found[:, :, :3] * cover + 255 * (255 - cover)
        found = ((mixed + 127) // 255).astype(np.uint8)
    if found.shape[2] != 3:
        raise _bad(f"it has {found.shape[2]} channels")
    return np.ascontiguousarray(found[:, :, ::-1])


def _orientation(data: bytes) -> int:
    """The EXIF orientation 1..8 of a JPEG; 1 where nothing is said or for other formats."""
    if not data.startswith(b"\xff\xd8"):
        return 1
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            return _tiff_orientation(data[start + 6 : end])
    return 1


def _tiff_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack(order + "I", tiff[4:8])
        (count,) = struct.unpack(order + "H", tiff[at : at + 2])
        for i in range(min(count, 200)):
            entry = tiff[at + 2 + 12 * i : at + 14 + 12 * i]
            tag, kind, _, value = struct.unpack(order + "HHIH", entry[:10])
            if tag == 0x0112 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # a damaged note beside a picture that may well be whole
    return 1


def upright(picture: Picture, orientation: int) -> Picture:
    """Turns and mirrors as the EXIF orientation (1..8) asks."""
    if orientation in (2, 4, 5, 7):
        picture = picture[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(picture, turns))


def _bad(why: str) -> StageFailed:
    error = bad_input(f"the picture cannot be used: {why}")
    error.hint = "send a whole PNG, JPEG or WebP"
    return error
