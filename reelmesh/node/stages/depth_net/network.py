"""The network's shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

CHANNELS = (24, 48, 80, 128, 160)
STRIDE = 32
"""Both sides of a picture must be multiples of this."""


class DepthNet(nn.Module):
    """Pictures [N, 3, H, W] in 0..1 → disparity [N, H, W], about 0 (the sky) to 1 (the nearest).

    The place in the picture is an input too: the ground is below and near, the sky above and far.
    """

    def __init__(self) -> None:
        super().__init__()
        before = (5, *CHANNELS[:-1])
        self.down = nn.ModuleList(_Down(i, o) for i, o in zip(before, CHANNELS, strict=True))
        self.up = nn.ModuleList(
            _block(low + high, high)
            for low, high in zip(CHANNELS[:0:-1], CHANNELS[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(CHANNELS[0], 4, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Disparity; a pixel shuffle brings it from half the size to the whole."""
        x = torch.cat([pictures * 2 - 1, _places(pictures)], 1)
        skips: list[Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up in self.up:
            skip = skips.pop()
            wide = interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = up(torch.cat([wide, skip], 1))
        out: Tensor = nn.functional.pixel_shuffle(self.head(x).float(), 2)[:, 0]
        return out


class _Down(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        half = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        super().__init__(half, nn.GroupNorm(8, outputs), nn.SiLU(), _block(outputs, outputs))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()
    )


def _places(pictures: Tensor) -> Tensor:
    count, _, height, width = pictures.shape
    ys = torch.linspace(-1, 1, height).to(pictures).view(1, 1, height, 1)
    xs = torch.linspace(-1, 1, width).to(pictures).view(1, 1, 1, width)
    return torch.cat([t.expand(count, 1, height, width) for t in (ys, xs)], 1)
