"""Trains the probe's shape reader on rendered clips, roughened so that it bears flaws."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .clock import Clock
from .probe import ShapeNet, crops, silhouettes
from .train_autoencoder import clip_pool


def _rough(cover: Tensor) -> Tensor:
    """Blurs and adds noise, by a random amount each."""
    soft = F.avg_pool2d(cover[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    mix = torch.rand(len(cover), 1, 1, device=cover.device) * 0.7
    noise = torch.randn_like(cover) * torch.rand(len(cover), 1, 1, device=cover.device) * 0.08
    return (cover * (1 - mix) + soft * mix + noise).clamp(0, 1)


def train(
    device: torch.device, seconds: float, clips: int = 8192, steps: int | None = None
) -> ShapeNet:
    """Trains for a time on single frames' silhouettes."""
    torch.manual_seed(0)
    scenes, pool, _ = clip_pool(clips, device, seed=2)
    target = scenes[:, 2].to(device)
    net = ShapeNet().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    clock, right = Clock(seconds, steps), 0.0
    while (progress := clock.tick()) < 1:
        pick = torch.randint(clips, (256,), device=device)
        at = torch.randint(16, (256, 2), device=device)
        frames = pool[pick[:, None], at]
        _, apart, _ = silhouettes(frames)
        strength = apart.amax((1, 2, 3)).clamp(min=0.12)[:, None, None, None]
        logits = net(crops(_rough((apart / strength).flatten(0, 1).clamp(0, 1))))
        labels = target[pick].repeat_interleave(2)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.02)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * clock.rate(progress)
        optimiser.step()
        if clock.done % 50 == 0:
            right = 0.5 * right + 0.5 * float((logits.argmax(1) == labels).float().mean())
            if clock.done % 500 == 0:
                print(f"probe {clock.done} {clock.elapsed():.0f}s right {right:.4f}", flush=True)
    return net.eval().requires_grad_(False)
