"""What the header of a PNG, JPEG or WebP says, read without decoding anything."""

from __future__ import annotations

import struct

from .base import StageFailed, bad_input

MAX_SIDE = 16384
MAX_PIXELS = 50_000_000


def shape_of(data: bytes) -> tuple[int, int]:
    """Width and height as the picture is seen, once turned. Raises StageFailed ("bad_input")."""
    width, height = still_size(data)
    return (height, width) if orientation_of(data) >= 5 else (width, height)


def colours_of(data: bytes) -> tuple[int, int]:
    """A PNG's colour primaries and transfer (its cICP chunk, by ITU-T H.273); (1, 13) without."""
    at = 8
    while data[:4] == b"\x89PNG" and at + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if name == b"cICP" and length == 4:
            return data[at + 8], data[at + 9]
        if name == b"IDAT":
            break
        at += 12 + int(length)
    return 1, 13


def still_size(data: bytes) -> tuple[int, int]:
    """Width and height before any turning, within bounds. Raises StageFailed ("bad_input")."""
    width, height = _claimed_size(data)
    if min(width, height) < 1 or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise bad_still(
            f"it is {width}x{height}, and {MAX_PIXELS // 10**6} megapixels are the most"
        )
    return width, height


def _claimed_size(data: bytes) -> tuple[int, int]:
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
            width, height = struct.unpack(">II", data[16:24])
            return int(width), int(height)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError) as error:
        raise bad_still("it is cut short") from error
    raise bad_still("it is no PNG, JPEG or WebP")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, at, _ in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 1 : at + 5])
            return int(width), int(height)
    raise bad_still("it is damaged")


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
    raise bad_still("it is damaged")


def is_whole(data: bytes) -> bool:
    """Decoders fill up what is missing with grey; a buyer should hear of it instead."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-64:]
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return b"\xff\xd9" in data[-65536:]


def orientation_of(data: bytes) -> int:
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


def bad_still(why: str) -> StageFailed:
    error = bad_input(f"the picture cannot be used: {why}")
    error.hint = "send a whole PNG, JPEG or WebP"
    return error
