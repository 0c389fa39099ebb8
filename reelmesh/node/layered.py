"""An MP4 that carries a second one for the viewer page, in a `uuid` box (ISO 14496-12) at its end.

Nothing is decoded here: a coordinator may look at files that it was sent.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from reelmesh.errors import UserError

_MARK = UUID("9d1c6f0e-6d0c-4b5f-9b52-3d7a7265656c").bytes
_HEADER = struct.Struct(">I4sQ16s")
MAX_LAYERS_BYTES = 128 * 2**20
_MAX_BOXES = 4096


class NoLayers(UserError):
    """The file is no MP4 with a viewer's layers in it."""


def box_header(size: int) -> bytes:
    """What stands before the layers' `size` bytes."""
    return _HEADER.pack(1, b"uuid", _HEADER.size + size, _MARK)


def read_layers(path: Path) -> bytes:
    """The layers' MP4 out of a video's file. Raises NoLayers, OSError."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        at = 0
        for _ in range(_MAX_BOXES):
            if at >= end:
                break
            file.seek(at)
            kind, head, size = _box(file, end - at)
            if kind == b"uuid" and file.read(16) == _MARK:
                if not 0 <= size - head - 16 <= MAX_LAYERS_BYTES:
                    break
                return file.read(size - head - 16)
            at += size
    raise NoLayers(f"{path} holds nothing for a viewer page", "give the MP4 of a video_to_4d job")


def _box(file: BinaryIO, left: int) -> tuple[bytes, int, int]:
    """A box's kind, the size of its header and of all of it. Raises NoLayers."""
    head = file.read(8)
    if len(head) == 8:
        size, kind = struct.unpack(">I4s", head)
        length = 8
        if size == 1:
            more = file.read(8)
            size, length = int.from_bytes(more, "big"), 16
        if length <= size <= left:
            return kind, length, size
    raise NoLayers("The file is damaged, or no MP4", "fetch it again")
