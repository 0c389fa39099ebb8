"""Opening a stranger's picture safely: PNG, JPEG or WebP, bounded before a pixel is decoded.

OpenCV's decoders are called by the file's own signature, and the size is read from the header
first: a small file that claims an enormous picture costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .frames import Picture
from .hdr import USUAL_PEAK_NITS, is_hdr, to_sdr
from .still_header import bad_still, colours_of, is_whole, orientation_of, still_size

MAX_BYTES = 64 << 20
_ROWS = 128
_DECODED_BYTES = 14  # a pixel: 16 bits and alpha as decoded, and again as 8 bits without


def read_still(path: Path) -> Picture:
    """The picture upright (EXIF), over white where it is transparent: uint8 [h, w, 3], RGB.

    Sixteen bits a channel are reduced to eight by their upper byte; a PNG that says that it is HDR
    (PQ or HLG) is brought to SDR.

    Raises:
        StageFailed: "bad_input": empty, too large, another format, damaged or cut short.
        MemoryError: this process may not take as much as the picture unpacks to.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise bad_still(f"it has {size} bytes, and 1 to {MAX_BYTES} are taken")
    data = path.read_bytes()
    width, height = still_size(data)
    if not is_whole(data):
        raise bad_still("it is cut short")
    # OpenCV reports a lack of memory as a damaged picture: ask for what it may take beforehand.
    np.empty(_DECODED_BYTES * width * height, np.uint8)
    try:
        # Any depth, colour, alpha. IMREAD_UNCHANGED leaves the orientation to us.
        found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise bad_still("it is damaged") from error
    if found is None or found.shape[:2] != (height, width):
        raise bad_still("it is damaged")
    primaries, transfer = colours_of(data)
    if is_hdr(transfer):
        found = _developed(found, transfer, primaries)
    return upright(_plain(found), orientation_of(data))


def _developed(found: NDArray[Any], transfer: int, primaries: int) -> NDArray[Any]:
    """BGR or BGRA of an HDR picture → the same of 8 bits, SDR; by rows, as floats are large."""
    if found.ndim != 3 or found.dtype not in (np.uint8, np.uint16):
        return found
    most = np.float32(np.iinfo(found.dtype).max)
    out = np.empty(found.shape, np.uint8)
    for top in range(0, len(found), _ROWS):
        rows = found[top : top + _ROWS].astype(np.float32) / most
        rgb = to_sdr(rows[..., 2::-1], transfer, primaries, USUAL_PEAK_NITS)
        rows[..., :3] = rgb[..., ::-1]
        out[top : top + _ROWS] = np.rint(rows * 255)
    return out


def _plain(found: NDArray[Any]) -> Picture:
    """Grey, BGR or BGRA of 8, 16 or float bits → RGB of 8 bits, over white."""
    if found.dtype == np.uint16:
        found = (found >> 8).astype(np.uint8)
    elif found.dtype != np.uint8:
        raise bad_still(f"its samples are {found.dtype}")
    if found.ndim == 2:
        found = cv2.cvtColor(found, cv2.COLOR_GRAY2BGR)
    if found.shape[2] == 4:
        cover = found[:, :, 3:].astype(np.uint16)
        mixed = found[:, :, :3] * cover + 255 * (255 - cover)
        found = ((mixed + 127) // 255).astype(np.uint8)
    if found.shape[2] != 3:
        raise bad_still(f"it has {found.shape[2]} channels")
    return np.ascontiguousarray(found[:, :, ::-1])


def upright(picture: Picture, orientation: int) -> Picture:
    """Turns and mirrors as the EXIF orientation (1..8) asks."""
    if orientation in (2, 4, 5, 7):
        picture = picture[:, ::-1]
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(picture, turns))
