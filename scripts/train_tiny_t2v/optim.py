"""Muon for matrices, AdamW for the rest, and an exponential moving average."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonalise(g: Tensor, rounds: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrices, batched [N, r, c].

    Coefficients from Jordan et al., "Muon: an optimizer for hidden layers" (2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16) if g.is_cuda else g
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon:
    """Momentum, orthogonalised; matrices of one shape are handled as one batch."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        self.lr, self.momentum = lr, momentum
        groups: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for p in weights:
            groups[(p.shape[0], p[0].numel())].append(p)
        self.groups = [
            (ps, torch.zeros(len(ps), *shape, device=ps[0].device)) for shape, ps in groups.items()
        ]

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update at learning rate lr x factor."""
        for ps, buffer in self.groups:
            g = torch.stack([p.grad.reshape(buffer.shape[1:]) for p in ps if p.grad is not None])
            buffer.lerp_(g, 1 - self.momentum)
            update = orthogonalise(g.lerp(buffer, self.momentum))
            scale = max(1.0, buffer.shape[1] / buffer.shape[2]) ** 0.5
            for p, u in zip(ps, update, strict=True):
                p.mul_(1 - 0.01 * self.lr * factor)
                p.add_(u.reshape(p.shape), alpha=-self.lr * factor * scale)


class Optimiser:
    """Muon on the named matrices, AdamW on everything else that needs a gradient."""

    def __init__(
        self, matrices: list[nn.Parameter], rest: list[nn.Parameter], lr: float, adam_lr: float
    ) -> None:
        self.muon = Muon(matrices, lr)
        self.adam_lr = adam_lr
        fused = rest[0].is_cuda
        self.adam = torch.optim.AdamW(
            rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=fused
        )

    def step(self, factor: float) -> None:
        """One update of every weight, then clears gradients."""
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * factor
        self.adam.step()
        self.muon.step(factor)
        self.adam.zero_grad(set_to_none=True)
        for ps, _ in self.muon.groups:
            for p in ps:
                p.grad = None


class Average:
    """Exponential moving average of a module's weights, with a short memory at first."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.live = list(module.state_dict().values())
        self.keys = list(module.state_dict().keys())
        self.mean = [v.detach().clone().float() for v in self.live]

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights as they are now into the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.mean, self.live, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return dict(zip(self.keys, self.mean, strict=True))
