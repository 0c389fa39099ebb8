"""Train the depth network: python -m scripts.train_depth OUT.safetensors [--minutes 8].

One CPU thread, minutes of its own time: a fifth makes the scenes, the rest trains. Seeds
0..199 are held out for `scripts/eval_fourd.py`; training uses those from 1000 on.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from reelmesh.node.stages.depth_net.network import DepthNet
from scripts.train_depth.scenes import Scene, disparity

SIDE = 128
BATCH = 16
FIRST_SEED = 1000


def main() -> None:
    """Make scenes, train, write fp16 weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=8.0)
    args = parser.parse_args()
    torch.manual_seed(7)
    torch.set_num_threads(1)
    end = time.process_time() + args.minutes * 60
    pictures, wanted = make_scenes(time.process_time() + args.minutes * 60 * 0.2)
    print(f"{len(pictures)} scenes", flush=True)
    keep(train(pictures, wanted, end, args.out).state_dict(), args.out)
    print(f"{args.out}: {args.out.stat().st_size} bytes")


def keep(state: Mapping[str, Tensor], out: Path) -> None:
    """Write weights as fp16."""
    save_file({name: value.half().contiguous() for name, value in state.items()}, str(out))


def make_scenes(until: float) -> tuple[Tensor, Tensor]:
    """Pictures uint8 [N, 3, S, S] and disparities fp16 [N, S, S], until the time is over."""
    pictures, wanted = [], []
    seed = FIRST_SEED
    while time.process_time() < until:
        shape = [(SIDE, SIDE), (SIDE * 3 // 4, SIDE)][seed % 2]
        picture, depth = Scene(seed).render(*shape)
        picture, inverse = _square(picture), _square(disparity(depth)[..., None])[..., 0]
        pictures.append((picture * 255).round().astype(np.uint8).transpose(2, 0, 1))
        wanted.append(inverse.astype(np.float16))
        seed += 1
    return torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(wanted))


def _square(image: np.ndarray) -> np.ndarray:
    """Stretched to SIDE x SIDE: the stage stretches pictures of any shape likewise."""
    import cv2

    out = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return out.reshape(SIDE, SIDE, -1)


def train(pictures: Tensor, wanted: Tensor, end: float, out: Path) -> DepthNet:
    """AdamW, cosine decay by the clock, weights averaged over the last steps."""
    network = DepthNet()
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    began, step, told = time.process_time(), 0, 0.0
    while (now := time.process_time()) < end:
        part = (now - began) / (end - began)
        for group in optimiser.param_groups:
            group["lr"] = (
                2e-3 * min(1, step / 100) * (0.02 + 0.98 * math.cos(part * math.pi / 2) ** 2)
            )
        picked = torch.randint(len(pictures), (BATCH,))
        x, y = augment(pictures[picked].float() / 255, wanted[picked].float())
        with torch.autocast("cpu", torch.bfloat16):
            found = network(x)
        error = loss(found.float(), y)
        optimiser.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        share = min(0.998, step / (step + 10))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - share)
        step += 1
        if now - told > 20:
            told = now
            keep(average, out)
            print(f"{now - began:5.0f} s  step {step}  loss {error.item():.4f}", flush=True)
    network.load_state_dict(average)
    return network


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrored, seen through a colour cast, a contrast and a gamma."""
    if torch.rand(()) < 0.5:
        x, y = x.flip(-1), y.flip(-1)
    many = len(x)
    gamma = torch.exp(torch.randn(many, 1, 1, 1) * 0.2)
    cast = 1 + 0.1 * torch.randn(many, 3, 1, 1)
    grey = x.mean(1, keepdim=True)
    saturation = torch.rand(many, 1, 1, 1) * 1.3
    x = grey + (x - grey) * saturation
    return (x.clamp(1e-3, 1) ** gamma * cast).clamp(0, 1), y


def loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Absolute error up to each picture's best shift and scale, and of gradients at four sizes."""
    plain = (found - wanted).abs().mean()
    found = align(found, wanted)
    error = found - wanted
    edges = torch.zeros(())
    for step in (1, 2, 4, 8):
        small = error[:, ::step, ::step]
        edges = edges + small.diff(dim=1).abs().mean() + small.diff(dim=2).abs().mean()
    return 0.3 * plain + error.abs().mean() + 0.5 * edges


def align(found: Tensor, wanted: Tensor) -> Tensor:
    """`found` [N, H, W] with the shift and scale of least squared error against `wanted`."""
    a, b = found.flatten(1), wanted.flatten(1)
    am, bm = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    scale = ((a - am) * (b - bm)).sum(1, keepdim=True) / ((a - am) ** 2).sum(1, keepdim=True).add(
        1e-4
    )
    return ((a - am) * scale.clamp(0.1, 10) + bm).view_as(found)


if __name__ == "__main__":
    main()
