"""Train the depth network: python -m scripts.train_depth OUT.safetensors [--start WEIGHTS].

Two CPU threads: one process makes scenes all the time, half of them with a figure close by, the
other trains on the last 30,000. Seeds 0..199 are held out for `scripts/eval_fourd.py`; training
uses those from 1000 on.

Give `--start`: from nothing, both kinds at once, ten minutes brought hardly anything. The weights
that ship learned from scenes without figures first, by this script before it knew any.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from multiprocessing import Queue
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from reelmesh.node.stages.depth import WORK
from reelmesh.node.stages.depth_net.network import DepthNet
from scripts.train_depth.near import NearScene
from scripts.train_depth.scenes import Scene, disparity

SIDE = WORK
SMALL = 128
"""What it learns at first, at two thirds of the time a step."""
BATCH = 16
FIRST_SEED = 1000
POOL = 30_000
CHUNK = 64
RATE = 1e-3

Chunk = tuple[NDArray[np.uint8], NDArray[np.float16]]
"""Pictures [CHUNK, 3, SIDE, SIDE] and disparities [CHUNK, SIDE, SIDE]."""


def main() -> None:
    """Train by the clock, write fp16 weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--minutes", type=float, default=45.0)
    args = parser.parse_args()
    torch.manual_seed(7)
    torch.set_num_threads(1)
    network = DepthNet()
    if args.start:
        network.load_state_dict({k: v.float() for k, v in load_file(args.start).items()})
    with scenes() as queue:
        train(network, Pool(queue), time.monotonic() + args.minutes * 60, args.out)
    keep(network.state_dict(), args.out)
    print(f"{args.out}: {args.out.stat().st_size} bytes")


def keep(state: Mapping[str, Tensor], out: Path) -> None:
    """Write weights as fp16."""
    save_file({name: value.half().contiguous() for name, value in state.items()}, str(out))


@contextlib.contextmanager
def scenes() -> Iterator[Queue[Chunk]]:
    """What a process of its own makes, until the end."""
    queue: Queue[Chunk] = multiprocessing.Queue(8)
    maker = multiprocessing.Process(target=_make, args=(queue,), daemon=True)
    maker.start()
    try:
        yield queue
    finally:
        maker.terminate()
        maker.join()


def _make(queue: Queue[Chunk]) -> None:
    torch.set_num_threads(1)
    seed = FIRST_SEED
    while True:
        pictures = np.empty((CHUNK, 3, SIDE, SIDE), np.uint8)
        wanted = np.empty((CHUNK, SIDE, SIDE), np.float16)
        for place in range(CHUNK):
            kind = NearScene if seed % 2 else Scene
            shape = [(SIDE, SIDE), (SIDE * 3 // 4, SIDE), (SIDE * 9 // 16, SIDE)][seed % 3]
            picture, depth = kind(seed).render(*shape)
            pictures[place] = (_square(picture) * 255).round().transpose(2, 0, 1)
            wanted[place] = _square(disparity(depth)[..., None])[..., 0]
            seed += 1
        queue.put((pictures, wanted))


def _square(image: np.ndarray) -> np.ndarray:
    """Stretched to SIDE x SIDE: the stage stretches pictures of any shape likewise."""
    import cv2

    out = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return out.reshape(SIDE, SIDE, -1)


class Pool:
    """The last POOL scenes that were made."""

    def __init__(self, queue: Queue[Chunk]) -> None:
        self._queue = queue
        self._pictures = torch.empty(POOL, 3, SIDE, SIDE, dtype=torch.uint8)
        self._wanted = torch.empty(POOL, SIDE, SIDE, dtype=torch.float16)
        self.made = 0

    def batch(self, side: int) -> tuple[Tensor, Tensor]:
        """BATCH pictures [B, 3, side, side] in 0..1 and their disparities [B, side, side]."""
        while self.made < 4 * CHUNK or not self._queue.empty():
            pictures, wanted = self._queue.get()
            at = torch.arange(self.made, self.made + CHUNK) % POOL
            self._pictures[at] = torch.from_numpy(pictures)
            self._wanted[at] = torch.from_numpy(wanted)
            self.made += CHUNK
        picked = torch.randint(min(self.made, POOL), (BATCH,))
        x, y = self._pictures[picked].float() / 255, self._wanted[picked].float()
        if side != SIDE:
            x = interpolate(x, size=(side, side), mode="area")
            y = interpolate(y[:, None], size=(side, side), mode="area")[:, 0]
        return x, y


def train(network: DepthNet, pool: Pool, end: float, out: Path) -> None:
    """AdamW, cosine decay by the clock, weights averaged over the last steps."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    began, step, told = time.monotonic(), 0, 0.0
    while (now := time.monotonic()) < end:
        part = (now - began) / (end - began)
        for group in optimiser.param_groups:
            group["lr"] = (
                RATE * min(1, step / 100) * (0.01 + 0.99 * math.cos(part * math.pi / 2) ** 2)
            )
        x, y = augment(*pool.batch(SMALL if part < 0.3 else SIDE))
        error = loss(network(x.to(memory_format=torch.channels_last)), y)
        optimiser.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        share = min(0.998, step / (step + 10))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - share)
        step += 1
        if now - told > 30:
            told = now
            keep(average, out)
            done = f"{now - began:5.0f} s  step {step}  {pool.made} scenes"
            print(f"{done}  loss {error.item():.4f}", flush=True)
    network.load_state_dict(average)


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A part of each picture, mirrored, seen through a colour cast, a contrast and a gamma."""
    x, y = _parts(x, y)
    if torch.rand(()) < 0.5:
        x, y = x.flip(-1), y.flip(-1)
    many = len(x)
    gamma = torch.exp(torch.randn(many, 1, 1, 1) * 0.2)
    cast = 1 + 0.1 * torch.randn(many, 3, 1, 1)
    grey = x.mean(1, keepdim=True)
    saturation = torch.rand(many, 1, 1, 1) * 1.3
    x = grey + (x - grey) * saturation
    return (x.clamp(1e-3, 1) ** gamma * cast).clamp(0, 1), y


def _parts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Each from half of the picture to all of it, so that the height in it tells less.

    Not a square: a stretched part is a stretched picture, as the stage makes of any shape.
    """
    many = len(x)
    wide = 0.5 + 0.5 * torch.rand(many, 2).sqrt()
    theta = torch.zeros(many, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide.unbind(1)
    theta[:, :, 2] = (torch.rand(many, 2) * 2 - 1) * (1 - wide)
    grid = affine_grid(theta, list(x.shape), align_corners=False)
    both = grid_sample(torch.cat([x, y[:, None]], 1), grid, "bilinear", "border", False)
    x, y = both[:, :3], both[:, 3]
    return x, (y / y.flatten(1).quantile(0.99, 1).clamp_min(0.05).view(-1, 1, 1)).clamp(0, 1)


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
