"""Enlarging pictures by Real-ESRGAN to an exact size: the arithmetic of `upscale`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .realesrgan import SCALE, RealEsrgan


def arithmetic(device: torch.device) -> torch.dtype:
    """The type that this device class computes in: fixed, so that a re-run has the same bits.

    CUDA: float16. CPU with bfloat16 products (AVX512-BF16 or AMX), where they are twice as
    quick: bfloat16. Any other CPU emulates them slowly: float32.
    """
    if device.type == "cuda":
        return torch.float16
    can = torch.cpu.get_capabilities()
    quick = can.get("avx512_bf16", False) or can.get("amx_bf16", False)
    return torch.bfloat16 if quick else torch.float32


def passes(source: tuple[int, int], target: tuple[int, int]) -> list[tuple[int, int]]:
    """The picture sizes (height, width) after each run of the network.

    One run enlarges by 4 and is reduced to the size wanted. To go further, a first run is
    reduced to a quarter of the target, so that the last one lands on it exactly: that costs
    a quarter of running the network again at full size, and edges stay as sharp.
    """
    if target[0] <= source[0] * SCALE and target[1] <= source[1] * SCALE:
        return [target]
    quarter = (-(-target[0] // SCALE), -(-target[1] // SCALE))
    return [*passes(source, quarter), target]


@torch.inference_mode()
def enlarge(network: RealEsrgan, pictures: Tensor, height: int, width: int) -> Tensor:
    """uint8 [N, h, w, 3] → uint8 [N, height, width, 3], on the CPU.

    Where the shapes differ the source is widened, not distorted: its edges are repeated.

    Args:
        pictures: at most as large as the target in both directions.
    """
    weight = next(network.parameters())
    x = pictures.to(weight.device).permute(0, 3, 1, 2).float() / 255
    x = pad_to_shape(x, height, width)
    for size in passes((x.shape[2], x.shape[3]), (height, width)):
        x = x.to(weight.dtype, memory_format=torch.channels_last)
        x = network(x).clamp_(0, 1)
        if tuple(x.shape[2:]) != size:
            x = interpolate(x, size=size, mode="bicubic", antialias=True).clamp_(0, 1)
    return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


def pad_to_shape(x: Tensor, height: int, width: int) -> Tensor:
    """[N, C, h, w] with its edges repeated until h : w is height : width, to a pixel."""
    h, w = x.shape[2:]
    more_w = max(0, round(h * width / height) - w)
    more_h = max(0, round(w * height / width) - h)
    if not more_w and not more_h:
        return x
    sides = (more_w // 2, more_w - more_w // 2, more_h // 2, more_h - more_h // 2)
    return pad(x, sides, mode="replicate")
