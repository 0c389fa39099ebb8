"""animate: denoising steps of the text-to-video model, from a first picture on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .anchor import read_picture, shrink
from .skeleton import Skeleton


class Animate(Skeleton):
    """As `skeleton`, with the input `frames`: the one square picture that the clip begins with."""

    name = "animate"
    version = 2

    def _first(self, inputs: Mapping[str, Path]) -> Tensor | None:
        return torch.from_numpy(shrink(read_picture(inputs["frames"]), self.model.height))
