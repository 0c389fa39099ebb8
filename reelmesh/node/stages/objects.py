"""Following several objects through a clip: figure told from ground, pieces joined to tracks.

The ground is the one colour of the picture's border; where that is not plain, as in a photograph
that moves as a whole, no object is told. Pieces of the figure are joined from frame to frame by
place and colour; where two touch, they are told apart by colour, or not seen for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .base import one_thread_opencv
from .frames import Pictures

Points = NDArray[np.float64]
Cover = NDArray[np.float32]  # [H, W], 0..1

WORK_SIDE = 128
MAX_OBJECTS = 4
# Colour distances (0..255) from the ground: noise below the first, object above the second.
_NOISE, _OBJECT = 14.0, 44.0
_PLAIN, _ALIKE = 0.85, 32.0  # of the border's pixels are like their median on a plain ground
_MOST = 0.65  # of the picture; more is no object but a picture that moves as a whole
_LEAST = 0.0008  # of the picture
_DEBRIS = 0.12  # of the largest piece: smaller ones are the model's crumbs
_PIECES = 7  # looked at in a frame
_APART = 60.0  # colour distance at which two objects are told apart where they touch
_FAR = 0.4  # shorter sides that an object may be off from where it was awaited


@dataclass(frozen=True)
class Seen:
    """One object: [T, 2] centre and [T] radius in shorter sides; NaN where it is not there."""

    centre: Points
    radius: Points
    at_edge: NDArray[np.bool_]
    """[T]: it touches the picture's border."""

    @property
    def there(self) -> NDArray[np.bool_]:
        """[T]: whether it is in the picture."""
        return ~np.isnan(self.radius)


@dataclass(frozen=True)
class _Piece:
    centre: Points
    radius: float
    colour: Points
    at_edge: bool
    cover: Cover


def follow_all(frames: Pictures) -> list[Seen]:
    """Every object in uint8 [T >= 2, H, W, 3]; none where figure and ground cannot be told."""
    with one_thread_opencv():
        small = _shrunk(frames)
        covers = _covers(small)
        if covers is None:
            return []
        pieces = [_pieces(p, c) for p, c in zip(small, covers, strict=True)]
    count = _usual([len(found) for found in pieces])
    if count == 0:
        return []
    return _tracks(pieces, small, min(count, MAX_OBJECTS))


def _shrunk(frames: Pictures) -> list[NDArray[np.float32]]:
    height, width = frames.shape[1:3]
    ratio = WORK_SIDE / max(height, width)
    size = (max(8, round(width * ratio)), max(8, round(height * ratio)))
    filter_ = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    return [cv2.resize(f.astype(np.float32), size, interpolation=filter_) for f in frames]


def _covers(pictures: list[NDArray[np.float32]]) -> list[Cover] | None:
    grounds: list[Any] = []
    for picture in pictures:
        edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        ground = np.median(edge, axis=0)
        if (np.linalg.norm(edge - ground, axis=1) < _ALIKE).mean() < _PLAIN:
            return None
        grounds.append(ground)
    covers = []
    for picture, ground in zip(pictures, grounds, strict=True):
        distance = np.linalg.norm(picture - ground, axis=2)
        cover = np.clip((distance - _NOISE) / (_OBJECT - _NOISE), 0, 1).astype(np.float32)
        covers.append(cover)
    shares = [float(cover.mean()) for cover in covers]
    return covers if np.median(shares) <= _MOST else None


def _pieces(picture: NDArray[np.float32], cover: Cover) -> list[_Piece]:
    """The frame's connected pieces, the largest first."""
    count, labels = cv2.connectedComponents((cover > 0.3).astype(np.uint8), connectivity=8)
    # Half-covered pixels around a piece belong to it.
    grown = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
    labels = np.where(labels > 0, labels, grown)
    found = [_piece(picture, np.where(labels == i, cover, 0)) for i in range(1, count)]
    found.sort(key=lambda piece: -piece.radius)
    least = max(_LEAST, _DEBRIS * _area(found[0], cover)) if found else 0
    return [piece for piece in found if _area(piece, cover) >= least][:_PIECES]


def _area(piece: _Piece, cover: Cover) -> float:
    return float(piece.cover.sum(dtype=np.float64)) / cover.size


def _piece(picture: NDArray[np.float32], cover: Cover) -> _Piece:
    weight = cover.astype(np.float64)
    total, side = float(weight.sum()), min(cover.shape)
    ys, xs = np.mgrid[0 : cover.shape[0], 0 : cover.shape[1]] + 0.5
    centre = np.array([(weight * xs).sum(), (weight * ys).sum()]) / total / side
    solid = weight**4
    colour = (picture * solid[..., None]).sum(axis=(0, 1)) / solid.sum()
    on = cover > 0.5
    at_edge = bool(on[0].any() or on[-1].any() or on[:, 0].any() or on[:, -1].any())
    return _Piece(centre, (total / np.pi) ** 0.5 / side, colour, at_edge, cover)


def _usual(counts: list[int]) -> int:
    """How many objects there are: the most that a quarter of the frames show, or the commonest."""
    often = [n for n in set(counts) if n and counts.count(n) * 4 >= len(counts)]
    return max(often, default=0)


def _tracks(
    pieces: list[list[_Piece]], pictures: list[NDArray[np.float32]], count: int
) -> list[Seen]:
    start = next(t for t, found in enumerate(pieces) if len(found) >= count)
    first = pieces[start][:count]  # the largest
    rows: list[list[_Piece | None]] = [[None] * len(pieces) for _ in range(count)]
    for row, piece in zip(rows, first, strict=True):
        row[start] = piece
    colours = [piece.colour for piece in first]
    for steps in (range(start + 1, len(pieces)), range(start - 1, -1, -1)):
        for t in steps:
            found = pieces[t]
            if 0 < len(found) < count:
                found = _split(found, pictures[t], colours)
            _join(rows, t, 1 if steps.step > 0 else -1, found, colours)
    return [_seen(row) for row in rows]


def _join(
    rows: list[list[_Piece | None]], t: int, way: int, found: list[_Piece], colours: list[Points]
) -> None:
    """Give each object the piece that fits it, all together as well as can be."""
    awaited = [_awaited(row, t, way) for row in rows]
    # A place at the end for each object that may be missing.
    best: tuple[float, tuple[int, ...]] = (np.inf, ())
    options = [*range(len(found)), *([-1] * len(rows))]
    costs = np.full((len(rows), len(found) + 1), _FAR)
    for i, place in enumerate(awaited):
        for j, piece in enumerate(found):
            off = float(np.linalg.norm(piece.centre - place)) if place is not None else 0.1
            costs[i, j] = off + 0.002 * float(np.linalg.norm(piece.colour - colours[i]))
    for chosen in set(permutations(options, len(rows))):
        cost = sum(costs[i, j] for i, j in enumerate(chosen))
        if (cost, chosen) < best:
            best = (float(cost), chosen)
    for row, j in zip(rows, best[1], strict=True):
        row[t] = found[j] if j >= 0 else None


def _awaited(row: list[_Piece | None], t: int, way: int) -> Points | None:
    """Where an object should be after its last two places."""
    before = [row[t - way * k] for k in (1, 2) if 0 <= t - way * k < len(row)]
    known = [piece.centre for piece in before if piece is not None]
    if not known:
        seen = [piece for piece in row if piece is not None]
        return (seen[0] if way < 0 else seen[-1]).centre if seen else None
    return known[0] + 0.6 * (known[0] - known[1]) if len(known) == 2 else known[0]


def _split(
    found: list[_Piece], picture: NDArray[np.float32], colours: list[Points]
) -> list[_Piece]:
    """Pieces cut by the objects' colours, where those are different enough; else as they are."""
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(colours) for b in colours[:i]]
    if min(pairs) < _APART:
        return found
    whole = np.max([piece.cover for piece in found], axis=0)
    nearest = np.argmin([np.linalg.norm(picture - c, axis=2) for c in colours], axis=0)
    parts = []
    for i in range(len(colours)):
        part = np.where(nearest == i, whole, 0).astype(np.float32)
        if part.sum() >= _LEAST * part.size:
            parts.append(_piece(picture, part))
    return parts


def _seen(row: list[_Piece | None]) -> Seen:
    nowhere = np.full(2, np.nan)
    return Seen(
        centre=np.stack([piece.centre if piece else nowhere for piece in row]),
        radius=np.array([piece.radius if piece else np.nan for piece in row]),
        at_edge=np.array([bool(piece and piece.at_edge) for piece in row]),
    )
