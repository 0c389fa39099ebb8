"""Enlarging by Real-ESRGAN only those parts of a picture that have detail.

On a plain ground the network draws nothing; it only shifts the colour a little, and amplifies faint
noise. The shift is the same for every place of one colour, and cheap to know: over one colour a
convolution is the sum of its kernel, so that the network is a function of three numbers. Plain
parts are enlarged plainly with that shift; boxes around everything else go through the network,
with some pixels around them, and are faded into the ground.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .enlarge import pad_to_shape, passes
from .frames import Picture
from .realesrgan import SCALE, RealEsrgan
from .sparse import Box, around

MARGIN = 8
"""Pixels around detail that go through the network: what is further off moves it by 1/255."""
_TOLERANCE = 8  # of 255, between a pixel and its neighbours: what a decoder's noise may come to
_FADE = (1, 5)  # pixels from a box's border at which it begins to count, and counts alone
_MOST = 0.7  # of a picture in boxes: beyond that all of it goes through the network
_COARSE = 4  # the shift is computed for squares of so many pixels a side

Image = NDArray[np.float32]  # [H, W, 3], 0..1


class Detailer:
    """Enlarges pictures one by one; `share` says how much of dense work it took so far."""

    def __init__(self, network: RealEsrgan) -> None:
        self._network = network
        self._weight = next(network.parameters())
        self._shift = _over_one_colour(network)
        self._computed = self._all = 0

    @property
    def share(self) -> float:
        """Of the pixels that dense work shows to the network, how many it was shown."""
        return self._computed / max(1, self._all)

    @torch.inference_mode()
    def enlarge(self, picture: Picture, height: int, width: int) -> tuple[Picture, list[Box]]:
        """uint8 [h, w, 3] → uint8 [height, width, 3], and all boxes that the network saw.

        The shape is widened as `enlarge.enlarge` does. OpenCV should run on one thread.
        """
        small = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        x = _pictured(pad_to_shape(small, height, width))
        seen: list[Box] = []
        for size in passes((x.shape[0], x.shape[1]), (height, width)):
            boxes = boxes_of_detail(x)
            seen += boxes
            self._computed += sum(_area(box) for box in boxes)
            self._all += x.shape[0] * x.shape[1]
            x = _reduced(self._pass(x, boxes), size)
        out: Picture = np.rint(x * 255).astype(np.uint8)
        return out, seen

    def _pass(self, x: Image, boxes: list[Box]) -> Image:
        height, width = x.shape[:2]
        if boxes == [(0, 0, width, height)]:
            return self._through(x)
        y = self._plain(x)
        for box in boxes:
            left, top, right, bottom = box
            made = self._through(x[top:bottom, left:right])
            there = y[SCALE * top : SCALE * bottom, SCALE * left : SCALE * right]
            weight = _weight(box, width, height)
            there += weight * _level(made - there, weight)
            np.clip(there, 0, 1, out=there)
        return y

    def _through(self, part: Image) -> Image:
        x = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None]
        x = x.to(self._weight.device, self._weight.dtype, memory_format=torch.channels_last)
        return _pictured(self._network(x).clamp_(0, 1))

    def _plain(self, x: Image) -> Image:
        """The picture enlarged plainly, in the colours that the network would give it."""
        height, width = x.shape[:2]
        coarse: Any = cv2.resize(
            x, (-(-width // _COARSE), -(-height // _COARSE)), interpolation=cv2.INTER_AREA
        )
        colours = torch.from_numpy(coarse).permute(2, 0, 1)[None].contiguous()
        shift: Any = self._shift(colours).unflatten(1, (3, SCALE * SCALE)).mean(2)
        shift = cv2.resize(_pictured(shift), (width, height), interpolation=cv2.INTER_LINEAR)
        large = (SCALE * width, SCALE * height)
        y: Any = cv2.resize(x + shift, large, interpolation=cv2.INTER_CUBIC)
        return np.clip(y, 0, 1, out=y)  # type: ignore[no-any-return]


def boxes_of_detail(x: Image) -> list[Box]:
    """Boxes around all that is not plain, with MARGIN; one around everything where it is most."""
    height, width = x.shape[:2]
    levels = np.rint(x * 255).astype(np.uint8)
    near = np.ones((3, 3), np.uint8)
    contrast = cv2.subtract(cv2.dilate(levels, near), cv2.erode(levels, near)).max(axis=2)
    margin = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    busy: Any = cv2.dilate((contrast > _TOLERANCE).astype(np.uint8), margin)
    boxes = _merged(around(busy))
    if sum(_area(box) for box in boxes) > _MOST * height * width:
        return [(0, 0, width, height)]
    return boxes


def _merged(boxes: list[Box]) -> list[Box]:
    """Boxes that cost more apart than as one become one."""
    done: list[Box] = []
    for box in boxes:
        merged = box
        while True:
            other = next((b for b in done if _gains(merged, b)), None)
            if other is None:
                break
            done.remove(other)
            merged = _union(merged, other)
        done.append(merged)
    return done


def _gains(a: Box, b: Box) -> bool:
    return _area(_union(a, b)) <= _area(a) + _area(b)


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _level(more: Image, weight: Image) -> Image:
    """The difference that a box makes, with none where it fades: noise alone shifts colours too."""
    fading = more[((weight > 0) & (weight < 1))[..., 0]]
    level: Any = np.median(fading, axis=0) if len(fading) else 0
    return more - level  # type: ignore[no-any-return]


def _weight(box: Box, width: int, height: int) -> Image:
    """[H, W, 1]: how much a box counts where it lies, enlarged. The picture's border is no edge."""
    left, top, right, bottom = box
    across = _ramps(right - left, before=left > 0, after=right < width)
    down = _ramps(bottom - top, before=top > 0, after=bottom < height)
    return np.minimum(across[None, :, None], down[:, None, None])


def _ramps(length: int, *, before: bool, after: bool) -> NDArray[np.float32]:
    at: Any = (np.arange(SCALE * length, dtype=np.float32) + 0.5) / SCALE
    start, end = _FADE
    weight: Any = np.ones_like(at)
    for fades, depth in ((before, at), (after, length - at)):
        if fades:
            weight = np.minimum(weight, np.clip((depth - start) / (end - start), 0, 1))
    return weight  # type: ignore[no-any-return]


def _reduced(y: Image, size: tuple[int, int]) -> Image:
    if y.shape[:2] == size:
        return y
    wide = torch.from_numpy(y).permute(2, 0, 1)[None]
    return _pictured(interpolate(wide, size=size, mode="bicubic", antialias=True).clamp_(0, 1))


def _pictured(x: Tensor) -> Image:
    """[1, 3, H, W] → [H, W, 3], in float32 on the CPU."""
    out: Image = x[0].permute(1, 2, 0).float().contiguous().cpu().numpy()
    return out


def _over_one_colour(network: RealEsrgan) -> nn.Sequential:
    """The network's layers for pictures of one colour, in float32 on the CPU."""
    layers: list[nn.Module] = []
    for layer in network.body:
        if isinstance(layer, nn.Conv2d):
            point = nn.Conv2d(layer.in_channels, layer.out_channels, 1)
            assert layer.bias is not None
            weight = layer.weight.float().sum((2, 3), keepdim=True)
            point.load_state_dict({"weight": weight, "bias": layer.bias.float()})
            layers.append(point)
        else:
            assert isinstance(layer, nn.PReLU)
            slopes = nn.PReLU(layer.num_parameters)
            slopes.load_state_dict({"weight": layer.weight.float()})
            layers.append(slopes)
    return nn.Sequential(*layers).eval().requires_grad_(False)
