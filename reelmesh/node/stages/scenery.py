"""A picture that is beyond the model's world, in depth: its scenery, and a figure in front of it.

There is no depth model here. A figure is what GrabCut (Rother et al., "GrabCut", SIGGRAPH 2004)
separates from the picture's border and finds whole in the middle; what is lower in a picture is
taken to be nearer, evened out along the picture's own edges (guided filter, He et al., ECCV 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .course import Course
from .frames import Picture
from .track import Image

Plane = NDArray[np.float32]  # [H, W]

_SCENE_SHARE, _FIGURE_SHARE = 0.16, 0.42  # of the course's way
_SCENE_MOST, _FIGURE_MOST = 0.07, 0.16  # of the picture's side, at most
_FAR, _NEAR = 0.45, 1.3  # parallax at the top and at the bottom of a picture
_SIZE_SHARE = 0.3  # of the course's growth
_ZOOM = 0.12  # of a picture that nothing else moves
_SET_OFF_S = 1.0  # in which the camera gets going, so that it starts from the picture itself
_LEAST, _MOST = 0.02, 0.4  # of the picture: what a figure may cover
_WHOLE = 0.85  # of what was separated: what one figure has to be
_BORDER = 0.06  # of the border at the sides and the top: what a figure may touch
_ROUNDS = 4


@dataclass(frozen=True)
class Scenery:
    """A picture in layers.

    back: float32 [H, W, 3], also behind the figure; parallax: [H, W], around 1; figure, cover:
    colours times cover, and cover (0..1), or None where nothing could be separated.
    """

    back: Image
    parallax: Plane
    figure: Image | None
    cover: Plane | None


def scenery_of(picture: Picture) -> Scenery:
    """Takes a uint8 [S, S, 3] picture apart."""
    image = picture.astype(np.float32)
    cover = figure_in(picture)
    parallax = _parallax(picture)
    if cover is None:
        return Scenery(image, parallax, None, None)
    hole: Any = cv2.dilate((cover > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8))
    filled: Any = cv2.inpaint(picture, hole, 5, cv2.INPAINT_TELEA)
    back = np.where(hole[..., None] > 0, filled, picture).astype(np.float32)
    return Scenery(back, parallax, image - back * (1 - cover[..., None]), cover)


def figure_in(picture: Picture) -> Plane | None:
    """How far each pixel is the one figure's (0..1), or None where there is no clear one."""
    side = picture.shape[0]
    edge = side // 12
    mask = np.full((side, side), cv2.GC_PR_FGD, np.uint8)
    mask[:edge] = mask[:, :edge] = mask[:, -edge:] = cv2.GC_BGD
    mask[-2:] = cv2.GC_PR_BGD
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(picture[..., ::-1])
    back, fore = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(bgr, mask, (0, 0, 0, 0), back, fore, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    area = float(stats[largest, cv2.CC_STAT_AREA])
    if not _LEAST <= area / side**2 <= _MOST or area < _WHOLE * float(found.sum()):
        return None
    one = (labels == largest).astype(np.uint8)
    touching = np.concatenate([one[edge], one[:, edge], one[:, -edge - 1]])
    if float(touching.mean()) > _BORDER or not _stands_out(picture, one):
        return None
    whole: Any = cv2.morphologyEx(one, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    soft: Any = cv2.GaussianBlur(whole.astype(np.float32), (0, 0), 1.2)
    return np.minimum(soft, np.float32(1))  # type: ignore[no-any-return]


def _stands_out(picture: Picture, one: NDArray[np.uint8]) -> bool:
    """Whether the figure's colours differ from those right around it."""
    near: Any = cv2.dilate(one, np.ones((25, 25), np.uint8))
    lab: Any = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    inside, outside = lab[one > 0], lab[(near > 0) & (one == 0)]
    gap = float(np.linalg.norm(inside.mean(axis=0) - outside.mean(axis=0)))
    spread = float(np.sqrt(inside.var(axis=0).sum() + outside.var(axis=0).sum()))
    return gap > max(18.0, 0.55 * spread)


def _parallax(picture: Picture) -> Plane:
    side = picture.shape[0]
    rows = np.linspace(_FAR, _NEAR, side, dtype=np.float32)[:, None].repeat(side, axis=1)
    grey: Any = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    reach = (side // 8 | 1, side // 8 | 1)

    def mean(plane: Any) -> Any:
        return cv2.boxFilter(plane, -1, reach)

    slope = (mean(grey * rows) - mean(grey) * mean(rows)) / (mean(grey**2) - mean(grey) ** 2 + 0.01)
    even = mean(slope) * grey + mean(mean(rows) - slope * mean(grey))
    smooth: Any = cv2.GaussianBlur(even, (0, 0), side / 40)
    return smooth  # type: ignore[no-any-return]


class Camera:
    """Where layers are in each frame of a video. course: None where the clips show no motion."""

    def __init__(self, course: Course | None, total: int, fps: int) -> None:
        part = np.clip(np.arange(total) / (fps * _SET_OFF_S), 0, 1)
        self._going = part * part * (3 - 2 * part)
        if course is None:
            self._scene = self._figure = np.zeros((total, 2))
            self._zoom = np.exp(np.log(1 + _ZOOM) * np.arange(total) / max(total - 1, 1))
            return
        self._scene = _bounded(course.away, _SCENE_SHARE, _SCENE_MOST)
        self._figure = _bounded(course.away, _FIGURE_SHARE, _FIGURE_MOST)
        grown = np.exp(course.log_size * _SIZE_SHARE)
        # Always so near that no border shows, however the camera sways.
        need = 1 + 2 * _NEAR * float(np.abs(self._scene).max())
        self._zoom = (1 + (need - 1) * self._going) * (grown / grown.min()) ** self._going

    def shot(self, scenery: Scenery, number: int) -> Picture:
        """Frame `number`: uint8 [S, S, 3]. Frame 0 is the picture itself."""
        side = scenery.back.shape[0]
        going = self._going[number]
        zoom = float(self._zoom[number])
        away = self._scene[number] * going * side
        middle = (side - 1) / 2
        ys, xs = np.mgrid[0:side, 0:side].astype(np.float32)
        x, y = (
            (grid - np.float32(middle)) / np.float32(zoom)
            + np.float32(middle)
            - np.float32(shift / zoom) * scenery.parallax
            for grid, shift in ((xs, away[0]), (ys, away[1]))
        )
        out: Any = cv2.remap(scenery.back, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        if scenery.figure is not None and scenery.cover is not None:
            apart = self._figure[number] * going * side
            offset = middle * (1 - zoom) + apart
            matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
            figure: Any = cv2.warpAffine(scenery.figure, matrix, (side, side))
            cover: Any = cv2.warpAffine(scenery.cover, matrix, (side, side))
            out = out * (1 - cover[..., None]) + figure
        picture: Picture = np.clip(np.rint(out), 0, 255).astype(np.uint8)
        return picture


def _bounded(away: NDArray[np.float64], share: float, most: float) -> NDArray[np.float64]:
    farthest = float(np.abs(away).max())
    return away * min(share, most / max(farthest, 1e-6))
