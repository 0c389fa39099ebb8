"""Plain backgrounds: finding one, freeing it of faint noise, and going on with it at the sides."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .frames import Picture, Pictures

_LIKE = 14.0  # colour distance (0..255) from the background within which a pixel is like it
_PLAIN = 0.85  # share of the border that must be like it
_NOISE, _REAL = 8.0, 20.0  # differences below the first are noise, above the second are left alone

Colour = NDArray[np.float32]  # [3], 0..255


def plain_colour(pictures: Pictures) -> Colour | None:
    """The one colour of all pictures' backgrounds, or None where they have no such thing."""
    border = _border(pictures)
    colour = np.median(border, axis=0).astype(np.float32)
    like = np.abs(border - colour).max(axis=1) <= _LIKE
    return colour if float(like.mean()) >= _PLAIN else None


def _border(pictures: Pictures) -> NDArray[np.float32]:
    sides = [pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]]
    return np.concatenate([side.reshape(-1, 3) for side in sides]).astype(np.float32)


def smoothed(picture: Picture, plain: Colour) -> Picture:
    """The picture with what hardly differs from the background made exactly that.

    The step is gradual: differences between _NOISE and _REAL are shrunk, so that soft edges stay.
    """
    colour = np.rint(plain)
    away = picture.astype(np.float32) - colour
    size = np.abs(away).max(axis=2, keepdims=True)
    keep = np.clip((size - _NOISE) / (_REAL - _NOISE), 0, 1)
    out: Picture = np.rint(colour + away * keep).astype(np.uint8)
    return out


def widened(picture: Picture, wide: int, high: int, plain: Colour | None) -> Picture:
    """The picture in the middle of wide x high, its background on the free sides.

    Without a plain background its edges are repeated. With one they are not: a thing that touches
    an edge would be drawn out into a bar.
    """
    h, w = picture.shape[:2]
    left, top = (wide - w) // 2, (high - h) // 2
    sides = (top, high - h - top, left, wide - w - left)
    if plain is None:
        out: Any = cv2.copyMakeBorder(picture, *sides, cv2.BORDER_REPLICATE)
    else:
        colour = [float(c) for c in np.rint(plain)]
        out = cv2.copyMakeBorder(picture, *sides, cv2.BORDER_CONSTANT, value=colour)
    return np.ascontiguousarray(out, dtype=np.uint8)
