"""The sizes that a video may have, and how a large one is cut into tiles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LEAST_SIDE, MOST_SIDE = 128, 3840
MOST_PIXELS = 3840 * 2160
TILE_SIDE = 1536
"""A tile's longer side, in pixels, at most: 3840x2160 becomes six tiles, 1024x1024 stays whole."""
OVERLAP = 8
"""Pixels that a tile is coded beyond its own, where it has a neighbour; even."""
MOTION_SIDE = 256
SCALE = 4
"""How far one run of the upscaler's network enlarges."""
REACH = 20
"""How far, in pixels of its source, anything is felt in what a run makes: one for each of the
network's 17 convolutions, and three for keeping its colours true."""

Side = Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE, multiple_of=2)]
"""Width or height of a finished video, in pixels."""


def is_first_size(width: int, height: int) -> bool:
    """True for the sizes of the first version, whose plans stay as they were."""
    return all(n % 64 == 0 and 256 <= n <= 1024 for n in (width, height))


def quarter(width: int, height: int) -> tuple[int, int]:
    """Width and height of the small frames that one run of the network enlarges to a size.

    Where four does not divide it they are a little too large, and the rest is cut off.
    """
    return -(-width // SCALE), -(-height // SCALE)


def box(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height, even, of the largest box of the shape width:height in a square."""
    longest = max(width, height)
    return 2 * round(side * width / longest / 2), 2 * round(side * height / longest / 2)


def timeline_size(width: int, height: int) -> tuple[int, int]:
    """Width and height at which the frames between key frames are made.

    Motion is followed best on pictures of about 256 pixels: so the shorter side has no more than
    that, unless those that the network enlarges to a size are hardly larger.
    """
    wide, high = quarter(width, height)
    shorter = min(wide, high)
    if shorter <= MOTION_SIDE * 3 // 2:
        return wide, high
    return round(wide * MOTION_SIDE / shorter), round(high * MOTION_SIDE / shorter)


def tile_counts(width: int, height: int, most: int = TILE_SIDE) -> tuple[int, int]:
    """Columns and rows of the fewest tiles with sides of about `most` pixels at most."""
    return -(-width // most), -(-height // most)


def tile_cuts(length: int, count: int) -> list[int]:
    """Boundaries 0..length of `count` tiles along a side; those inside are multiples of 8."""
    return [length * i // count // 8 * 8 if i < count else length for i in range(count + 1)]


def tile_box(
    width: int, height: int, columns: int, rows: int, tile: int, overlap: int = OVERLAP
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a tile, counted row by row, with its overlap, in pixels."""
    row, column = divmod(tile, columns)
    xs, ys = tile_cuts(width, columns), tile_cuts(height, rows)
    left, right = xs[column : column + 2]
    top, bottom = ys[row : row + 2]
    return (
        max(0, left - overlap),
        max(0, top - overlap),
        min(width, right + overlap),
        min(height, bottom + overlap),
    )
