"""restyle: a run of frames → the same in another look, steady over time.

Looks are drawn by smooth functions of a picture that was evened out along its own motion first: a
threshold that noise crosses back and forth would flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .base import ModelFree, StageContext, bad_input, one_thread_opencv
from .frames import FrameWriter, Picture, iter_frames
from .media import MediaLimits
from .track import Image

Plane = NDArray[np.float32]

_KEPT = 0.6  # of the picture before, where it is the same thing
_SAME = 12.0  # grey levels by which it may differ
_STEPS = 6  # of brightness in a cartoon


class Restyle(ModelFree):
    """Input and output `frames`; the first `params.lead` frames come in and not out."""

    name = "restyle"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Restyles. Raises StageFailed ("bad_input"), StageCancelled."""
        path = ctx.workdir / "frames.mkv"
        total = params.lead + params.frames
        limits = MediaLimits(total, params.width, params.height)
        look, steady, count = LOOKS[params.style], Steady(), 0
        with one_thread_opencv(), FrameWriter(path, params.width, params.height) as writer:
            for picture in iter_frames(inputs["frames"], limits):
                ctx.progress(count / total, f"frame {count + 1} of {total}")
                even = steady.next(picture)
                count += 1
                if count > params.lead:
                    drawn = np.clip(np.rint(look(even)), 0, 255).astype(np.uint8)
                    ctx.step(drawn.tobytes())
                    writer.write(drawn)
            if count != total:
                raise bad_input(f"there are {count} pictures, not {total}")
        ctx.progress(1.0)
        return {"frames": path}


class Steady:
    """Evens pictures out over time, each along the motion from the one before."""

    def __init__(self) -> None:
        self._even: Image | None = None
        self._grey: NDArray[np.uint8] | None = None
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def next(self, picture: Picture) -> Image:
        """float32 [H, W, 3] in 0..255."""
        image = picture.astype(np.float32)
        grey: Any = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if self._even is not None and self._grey is not None:
            back = self._flow.calc(grey, self._grey, None)
            ys, xs = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float32)
            place = xs + back[..., 0], ys + back[..., 1]
            before = cv2.remap(
                self._even, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            gap: Any = cv2.GaussianBlur(np.abs(before - image).mean(axis=2), (0, 0), 2)
            share = _KEPT * np.exp(-((gap / _SAME) ** 2))[..., None]
            image = before * share + image * (1 - share)
        self._even, self._grey = image, grey
        return image


def _luma(image: Image) -> Plane:
    luma: Any = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return luma  # type: ignore[no-any-return]


def _lines(image: Image, strength: float) -> Plane:
    """1 on paper, towards 0 on outlines (extended difference of Gaussians)."""
    luma = _luma(image)
    fine: Any = cv2.GaussianBlur(luma, (0, 0), 1.0)
    coarse: Any = cv2.GaussianBlur(luma, (0, 0), 1.8)
    edge = (fine - 0.98 * coarse) - 0.02 * 128
    lines: Plane = 1 + np.tanh(strength * np.minimum(edge, 0)).astype(np.float32)
    return lines


def _sketch(image: Image) -> Image:
    flat = _flat(image, 4)
    luma = _luma(flat)
    blurred: Any = cv2.GaussianBlur(255 - luma, (0, 0), 7)
    shade = np.minimum(255, luma * 255 / np.maximum(255 - blurred, 8))
    paper = shade * (0.35 + 0.65 * _lines(flat, 0.5))
    out: Image = paper[..., None] * np.array((1.0, 0.985, 0.95), np.float32)
    return out


def _flat(image: Image, rounds: int) -> Image:
    small: Any = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for _ in range(rounds):
        small = cv2.bilateralFilter(small, 7, 22, 5)
    size = (image.shape[1], image.shape[0])
    flat: Any = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    return flat  # type: ignore[no-any-return]


def _saturated(image: Image, times: float) -> Image:
    luma = _luma(image)[..., None]
    return luma + (image - luma) * np.float32(times)


def _cartoon(image: Image) -> Image:
    flat = _saturated(_flat(image, 4), 1.35)
    luma = np.maximum(_luma(flat), 1)
    place = luma / 255 * _STEPS
    whole = np.floor(place)
    # A soft step: a level is left and entered over a third of its width.
    part = np.clip((place - whole - 0.5) * 3 + 0.5, 0, 1)
    level = (whole + part * part * (3 - 2 * part)) * 255 / _STEPS
    out: Image = (flat * (level / luma * _lines(flat, 0.4))[..., None]).astype(np.float32)
    return out


def _watercolour(image: Image) -> Image:
    flat = _saturated(_flat(image, 6), 1.15)
    pale: Image = 255 - (255 - flat) * np.float32(0.82)
    dark_edges = 0.75 + 0.25 * _lines(flat, 0.5)
    out: Image = (pale * dark_edges[..., None]).astype(np.float32)
    return out


def _noir(image: Image) -> Image:
    luma = _luma(image) / 255
    curve = luma * luma * (3 - 2 * luma)
    return np.repeat((curve * 255 * 0.97)[..., None], 3, axis=2)


def _sepia(image: Image) -> Image:
    return _luma(image)[..., None] * np.array((1.06, 0.9, 0.68), np.float32) + 6


def _tinted(*gains: float) -> Callable[[Image], Image]:
    def look(image: Image) -> Image:
        return image * np.array(gains, np.float32)

    return look


def _night(image: Image) -> Image:
    dim = _saturated(image, 0.55) * np.array((0.34, 0.42, 0.68), np.float32)
    glow: Any = cv2.GaussianBlur(np.maximum(image - 190, 0), (0, 0), 5)
    out: Image = dim + np.array((1.6, 1.3, 0.7), np.float32) * glow
    return out


LOOKS: Mapping[str, Callable[[Image], Image]] = {
    "sketch": _sketch,
    "cartoon": _cartoon,
    "watercolour": _watercolour,
    "noir": _noir,
    "sepia": _sepia,
    "warm": _tinted(1.1, 0.99, 0.8),
    "cold": _tinted(0.85, 0.98, 1.12),
    "night": _night,
}
