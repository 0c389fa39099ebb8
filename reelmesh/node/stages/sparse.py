"""Which parts of a picture the upscaler's network has to see again.

A pixel of what the network makes depends on the pixels within REACH of its source, and on no other.
So where all of those have one colour, the result is the one that any such place of that colour has;
and where all of them are as in the picture before, the result is the one from before. Both are
decided by exact comparison: what is left out is what would have been computed, up to the rounding
in which the same convolution differs between shapes of its input.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reelmesh.scheduler.sizes import REACH

from .frames import Picture

CELL = 16
"""Side of the squares, in pixels of the source, that are computed or left out as one."""
MAX_COLOURS = 32

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
Cells = NDArray[np.uint8]  # [rows, columns], 0 or 1
Plane = NDArray[np.bool_]


@dataclass(frozen=True)
class Work:
    """boxes: go through the network, and may overlap. flat: are of one colour.

    done: the cells within `boxes`. All else stays as it was.
    """

    boxes: list[Box]
    flat: list[Box]
    done: Cells


def plan_work(seen: Picture, before: Picture | None, *, sparse: bool) -> Work:
    """What to do for a picture [h + 2 REACH, w + 2 REACH, 3], after the one `before` it.

    `flat` is to be done first: where it overlaps with `boxes`, both say the same.
    """
    height, width = seen.shape[0] - 2 * REACH, seen.shape[1] - 2 * REACH
    rows, columns = -(-height // CELL), -(-width // CELL)
    whole = [(0, 0, width, height)]
    every = np.ones((rows, columns), np.uint8)
    if not sparse:
        return Work(whole, [], every)
    flat = _quiet(_edges(seen), rows, columns)
    same = np.zeros_like(flat)
    if before is not None:
        same = _quiet((seen != before).any(axis=2), rows, columns)
    flat &= ~same
    if len(_colours(seen, flat)) > MAX_COLOURS:
        flat[:] = False
    busy = (~(flat | same)).astype(np.uint8)
    boxes = [_pixels(box, width, height) for box in around(busy)]
    if _cost(boxes) >= _cost(whole):
        return Work(whole, [], every)
    done = np.zeros_like(busy)
    for left, top, right, bottom in around(busy):
        done[top:bottom, left:right] = 1
    return Work(boxes, [_pixels(box, width, height) for box in _runs(flat, seen)], done)


def _edges(seen: Picture) -> Plane:
    """Where a pixel differs from the one on its left or the one above."""
    out = np.zeros(seen.shape[:2], bool)
    out[:, 1:] |= (seen[:, 1:] != seen[:, :-1]).any(axis=2)
    out[1:] |= (seen[1:] != seen[:-1]).any(axis=2)
    return out


def _quiet(marks: Plane, rows: int, columns: int) -> Plane:
    """[rows, columns]: the cells that have no mark within REACH."""
    height, width = marks.shape
    sums = cv2.integral(marks.astype(np.uint8))
    top = np.arange(rows) * CELL
    left = np.arange(columns) * CELL
    bottom = np.minimum(top + CELL + 2 * REACH, height)
    right = np.minimum(left + CELL + 2 * REACH, width)
    within = (
        sums[np.ix_(bottom, right)]
        - sums[np.ix_(top, right)]
        - sums[np.ix_(bottom, left)]
        + sums[np.ix_(top, left)]
    )
    quiet: Plane = within == 0
    return quiet


def _colours(seen: Picture, cells: Plane) -> NDArray[np.uint8]:
    ys, xs = np.nonzero(cells)
    return np.unique(seen[ys * CELL + REACH, xs * CELL + REACH], axis=0)


def around(busy: Cells) -> list[Box]:
    """A box, in cells, around each group of cells that touch, at corners too."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(busy, connectivity=8)
    return [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, _ in stats[1:count].tolist()]


def _runs(flat: Plane, seen: Picture) -> list[Box]:
    """Boxes, in cells, one cell high, of neighbours that are flat and of one colour."""
    boxes: list[Box] = []
    for y, row in enumerate(flat):
        start: int | None = None
        for x in range(len(row) + 1):
            goes_on = x < len(row) and bool(row[x])
            if start is not None and not (goes_on and _like(seen, y, start, x)):
                boxes.append((start, y, x, y + 1))
                start = None
            if goes_on and start is None:
                start = x
    return boxes


def _like(seen: Picture, y: int, a: int, b: int) -> bool:
    row = seen[y * CELL + REACH]
    return bool((row[a * CELL + REACH] == row[b * CELL + REACH]).all())


def _pixels(cells: Box, width: int, height: int) -> Box:
    left, top, right, bottom = (CELL * n for n in cells)
    return left, top, min(right, width), min(bottom, height)


def _cost(boxes: list[Box]) -> int:
    """Pixels that the network has to see."""
    return sum(
        (right - left + 2 * REACH) * (bottom - top + 2 * REACH)
        for left, top, right, bottom in boxes
    )
