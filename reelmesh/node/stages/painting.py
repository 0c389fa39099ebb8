"""Enlarging picture after picture by Real-ESRGAN, a part of each, and only what is new in it.

The network makes saturated colours brighter and plain ones a little other than they were. So what
it makes is corrected: reduced again it has the source's colours, but for its sharper edges.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad

from reelmesh.scheduler.sizes import REACH, SCALE

from .base import NO_MODEL, model_id
from .enlarge import arithmetic
from .frames import Picture
from .realesrgan import RealEsrgan, load_network, weights_hash
from .sparse import CELL, Box, Work, plan_work

_AROUND = 5  # pixels of the source, a side: over so many the colours' error is averaged


class Faithful(RealEsrgan):
    """RGB in 0..1, [N, 3, H, W] → [N, 3, 4H, 4W] in 0..1, with the colours of its source."""

    def __init__(self, network: RealEsrgan) -> None:
        nn.Module.__init__(self)
        self.body = network.body

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges by 4. What lies within REACH of the input's border is not to be used."""
        y = super().forward(x).clamp_(0, 1)
        error = x.float() - avg_pool2d(y, SCALE)
        error = pad(error, (_AROUND // 2,) * 4, mode="replicate")
        error = avg_pool2d(error, _AROUND, 1)
        return (y + interpolate(error, scale_factor=SCALE, mode="bilinear")).clamp_(0, 1)


class FaithfulStage:
    """The half of a stage that has this network."""

    def __init__(self) -> None:
        self.model_hash = NO_MODEL
        self._network: Faithful | None = None

    def load(self, device: torch.device) -> None:
        """Makes the network resident. Raises BadWeights."""
        if self._network is None:
            dtype = arithmetic(device)
            self._network = Faithful(load_network(device, dtype))
            self.model_hash = model_id(weights_hash(), str(dtype))

    @property
    def network(self) -> Faithful:
        """The resident network; `load` comes first."""
        if self._network is None:
            raise RuntimeError("load() was not called")
        return self._network


class Window:
    """Where a tile lies. source: the box of small pixels that it is made from, as
    (left, top, right, bottom). cut: (left, top, width, height) of the tile in those, enlarged.
    """

    def __init__(self, source: Box, cut: Box | None = None) -> None:
        left, top, right, bottom = source
        self.source = source
        self.cut = cut or (0, 0, SCALE * (right - left), SCALE * (bottom - top))


class Painter:
    """Makes one tile of picture after picture."""

    def __init__(self, network: Faithful, where: Window, *, sparse: bool) -> None:
        self._network = network
        self._where = where
        self._sparse = sparse
        self._before: Picture | None = None
        self._large: Picture | None = None
        self._flat: dict[bytes, Picture] = {}
        self._computed = self._all = 0

    @property
    def share(self) -> float:
        """Of the pixels of dense work, how many went through the network, with what surrounds them.

        The rest was flat, or as before.
        """
        return self._computed / max(1, self._all)

    def paint(self, picture: Picture) -> tuple[Picture, Work]:
        """A small picture uint8 [h, w, 3] → the tile uint8 [H, W, 3], and what was computed."""
        seen = surroundings(picture, self._where.source)
        work = plan_work(seen, self._before if self._sparse else None, sparse=self._sparse)
        height, width = seen.shape[0] - 2 * REACH, seen.shape[1] - 2 * REACH
        if self._large is None:
            self._large = np.empty((SCALE * height, SCALE * width, 3), np.uint8)
        for box in work.flat:
            self._fill(box, seen)
        for box in work.boxes:
            self._compute(box, seen)
        self._all += seen.shape[0] * seen.shape[1]
        self._before = seen
        left, top, wide, high = self._where.cut
        return self._large[top : top + high, left : left + wide].copy(), work

    def _compute(self, box: Box, seen: Picture) -> None:
        left, top, right, bottom = box
        part = seen[top : bottom + 2 * REACH, left : right + 2 * REACH]
        self._computed += part.shape[0] * part.shape[1]
        self._put(box, _enlarged(self._network, part))

    def _fill(self, box: Box, seen: Picture) -> None:
        """A box of cells whose surroundings have one colour gets what the network makes of it."""
        left, top, right, bottom = box
        colour = seen[top + REACH, left + REACH]
        made = self._flat.get(colour.tobytes())
        if made is None:
            plain = np.broadcast_to(colour, (CELL + 2 * REACH, CELL + 2 * REACH, 3))
            self._computed += plain.shape[0] * plain.shape[1]
            made = self._flat[colour.tobytes()] = _enlarged(self._network, plain)[:SCALE, :SCALE]
        self._put(box, np.tile(made, (bottom - top, right - left, 1)))

    def _put(self, box: Box, made: Picture) -> None:
        assert self._large is not None
        left, top, right, bottom = (SCALE * n for n in box)
        self._large[top:bottom, left:right] = made


def surroundings(picture: Picture, box: Box) -> Picture:
    """A box of the picture with REACH pixels around it, beyond the border the border again."""
    left, top, right, bottom = box
    whole: Any = cv2.copyMakeBorder(picture, *(REACH,) * 4, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(whole[top : bottom + 2 * REACH, left : right + 2 * REACH])


@torch.inference_mode()
def _enlarged(network: Faithful, part: Picture) -> Picture:
    """uint8 [h + 2 REACH, w + 2 REACH, 3] → uint8 [SCALE h, SCALE w, 3]."""
    weight = next(network.parameters())
    x = torch.from_numpy(np.ascontiguousarray(part)).to(weight.device)
    x = (x.permute(2, 0, 1)[None].float() / 255).to(weight.dtype, memory_format=torch.channels_last)
    rim = REACH * SCALE
    y = network(x)[0, :, rim:-rim, rim:-rim].clamp(0, 1)
    out: Picture = (y * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return out
