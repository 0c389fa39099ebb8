"""Teaches the shipped decoder the wider world: python -m scripts.train_tiny_t2v.train_decoder

The encoder stays as it is, and so do the latents that the denoiser was trained on: only what is
drawn from them changes. The decoder was trained on one object before a backdrop, and let two
colours that share a patch, as in a collision, run into each other.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.autoencoder import Autoencoder
from reelmesh.node.stages.tiny_t2v.released import WEIGHTS
from reelmesh.node.stages.tiny_t2v.world import BACKGROUNDS, all_scenes

from .clock import Clock
from .optim import Average, Optimiser
from .train_autoencoder import _split, as_input
from .train_wide import export_part, part_of, pick_scene
from .wide_render import jitters, render_wide, rows

#: Shares of the first world, of collisions and of cycles; the rest is the wider world.
MIX = (0.2, 0.5, 0.05)
#: Noise on the latent, of its unit size: a sample is not exact either.
_NOISE_TO = 0.3


@dataclass
class Pool:
    """Clips drawn in advance, with their latents."""

    clips: Tensor  # uint8 [N, 16, 3, 64, 64]
    near: Tensor  # bool [N, 16, 64, 64]: on an object, or within two pixels of one
    latents: Tensor  # [N, 8, 16, 8, 8]


@torch.inference_mode()
def draw(model: Autoencoder, count: int, seed: int) -> Pool:
    """Draws and encodes clips of scenes that are in training."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    old = [s for s in all_scenes() if not s.held_out()]
    table = rows([pick_scene(rng, old, MIX) for _ in range(count)], generator)
    ground = torch.tensor(list(BACKGROUNDS.values()))
    pool = Pool(
        torch.empty(count, 16, 3, 64, 64, dtype=torch.uint8),
        torch.empty(count, 16, 64, 64, dtype=torch.bool),
        torch.empty(count, 8, 16, 8, 8),
    )
    for i in range(0, count, 128):
        some = table[i : i + 128]
        clips = render_wide(some, jitters(len(some), generator))
        away = (clips / 255 - ground[some[:, 2]][:, None, :, None, None]).abs().amax(2) > 0.01
        pool.clips[i : i + 128] = clips
        pool.near[i : i + 128] = F.max_pool2d(away.float(), 5, 1, 2) > 0
        pool.latents[i : i + 128] = model.encode(as_input(clips))
    return pool


def train(model: Autoencoder, pool: Pool, args: argparse.Namespace) -> dict[str, Tensor]:
    """Trains the decoder until the clock says; returns the averaged weights of all."""
    torch.manual_seed(args.seed)
    model.encoder.requires_grad_(False)
    optimiser = Optimiser(*_split(model), lr=5e-3 * args.rate, adam_lr=2e-3 * args.rate)
    average, clock = Average(model, 0.995), Clock(args.seconds, args.steps)
    while (progress := clock.tick()) < 1:
        pick = torch.randint(len(pool.clips), (args.batch,))
        z = pool.latents[pick]
        level = torch.rand(len(z), 1, 1, 1, 1) * _NOISE_TO
        d = model.decode(z + level * torch.randn_like(z)) - as_input(pool.clips[pick])
        weight = (1 + 4 * pool.near[pick].float())[:, :, None]
        (weight * (d.abs() + d * d)).mean().backward()
        optimiser.step(clock.rate(progress))
        average.update()
        if clock.done % 20 == 1 or args.steps:
            mse = float(d.detach().square().mean()) / 4
            print(f"decoder {clock.done} {clock.elapsed():.0f}s mse {mse:.5f}", flush=True)
    return average.state()


def main() -> None:
    """Trains, and puts the decoder into the file that ships."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.3, help="factor on learning rates")
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--steps", type=int, help="a fixed number of steps instead of a time")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    shipped = {k: v.float() for k, v in load_file(WEIGHTS).items()}
    model = Autoencoder()
    model.load_state_dict(part_of(shipped, "autoencoder."))
    pool = draw(model, args.clips, args.seed)
    print(f"{len(pool.clips)} clips drawn", flush=True)
    state = train(model, pool, args)
    decoder = {k: v for k, v in state.items() if k.startswith("decoder.")}
    print(export_part("autoencoder.", decoder))


if __name__ == "__main__":
    main()
