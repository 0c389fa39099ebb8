"""Trains the autoencoder on rendered clips."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelmesh.node.stages.tiny_t2v.autoencoder import Autoencoder
from reelmesh.node.stages.tiny_t2v.world import all_scenes

from .clock import Clock
from .optim import Average, Optimiser
from .render import random_offsets, render, scene_indices


def clip_pool(
    count: int, device: torch.device, seed: int, held_out: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Random clips: scene indices [N, 5], frames uint8 [N, 16, 3, 64, 64], cover uint8."""
    rng = random.Random(seed)
    allowed = [s for s in all_scenes() if s.held_out() == held_out]
    scenes = scene_indices(rng.choices(allowed, k=count))
    offsets = random_offsets(scenes, torch.Generator().manual_seed(seed))
    frames = torch.empty(count, 16, 3, 64, 64, dtype=torch.uint8, device=device)
    cover = torch.empty(count, 16, 64, 64, dtype=torch.uint8, device=device)
    for i in range(0, count, 512):
        part = slice(i, i + 512)
        frames[part], cover[part] = render(scenes[part].to(device), offsets[part])
    return scenes, frames, cover


def as_input(frames: Tensor) -> Tensor:
    """uint8 → float32 in -1..1."""
    return frames.float() / 127.5 - 1


def _split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    matrices, rest = [], []
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        inner = p.ndim >= 3 and not name.startswith(("encoder.net.1.", "decoder.fine.4."))
        (matrices if inner else rest).append(p)
    return matrices, rest


def train(
    device: torch.device,
    seconds: float,
    clips: int = 32_768,
    batch: int = 64,
    steps: int | None = None,
) -> Autoencoder:
    """Trains for a time; the encoder is frozen for the last 40% of it."""
    torch.manual_seed(0)
    _, pool, cover = clip_pool(clips, device, seed=1)
    model = Autoencoder().to(device)
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    optimiser = Optimiser(*_split(model), lr=5e-3, adam_lr=2e-3)
    average = Average(model, 0.998)
    clock, frozen = Clock(seconds, steps), False
    noise_to = 0.3
    while (progress := clock.tick()) < 1:
        if progress > 0.6 and not frozen:
            frozen = True
            model.load_state_dict(average.state())
            model.encoder.requires_grad_(False)
            optimiser = Optimiser(*_split(model), lr=5e-3, adam_lr=2e-3)
        pick = torch.randint(clips, (batch,), device=device)
        frames, mask = pool[pick], cover[pick]
        still = torch.rand(batch, device=device) < 0.15
        at = torch.randint(16, (batch,), device=device)
        rows = torch.arange(batch, device=device)
        frames = torch.where(still[:, None, None, None, None], frames[rows, at][:, None], frames)
        mask = torch.where(still[:, None, None, None], mask[rows, at][:, None], mask)
        loss, square = _loss(model, as_input(frames), mask, noise_to)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(clock.rate(progress))
        average.update()
        if clock.done % 200 == 1 or steps:
            print(
                f"autoencoder {clock.done} {clock.elapsed():.0f}s mse {float(square):.5f}",
                flush=True,
            )
    model.load_state_dict(average.state())
    return model.eval().requires_grad_(False)


def _loss(model: Autoencoder, clip: Tensor, mask: Tensor, noise_to: float) -> tuple[Tensor, Tensor]:
    near = F.max_pool2d(mask.flatten(0, 1)[:, None].float(), 5, 1, 2).reshape(mask.shape) > 0
    weight = (1 + 4 * near.float())[:, :, None]
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=clip.is_cuda):
        z = model.encode(clip)
        level = torch.rand(len(z), 1, 1, 1, 1, device=z.device) * noise_to
        out = model.decode(z + level * torch.randn_like(z))
    d = out.float() - clip
    loss = (weight * (d.abs() + d * d)).mean()
    return loss, d.detach().square().mean() / 4
