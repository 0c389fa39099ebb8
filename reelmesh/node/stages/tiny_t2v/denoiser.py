"""Denoiser: a transformer over 8x4x4 latent patches, told by text, time and a first frame.

The parametrisation predicts F, the unit-variance combination of clean latent x and noise e
that is orthogonal to the input z = t·x + (1-t)·e:

    F = ((1-t)·x - t·e) / √D        D = t² + (1-t)²
    dz/dt = x - e = ((2t-1)·z/√D + F) / √D

so the target has the same size at every noise level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder import CHANNELS

GRID = 8
PATCH = 2


@dataclass(frozen=True, slots=True)
class DenoiserShape:
    """Sizes of the network; read from the metadata shipped beside the weights."""

    chunks: int = 8
    width: int = 256
    layers: int = 6
    heads: int = 4
    mlp: int = 768
    text_tokens: int = 8
    text_features: int = 384


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


class Attention(nn.Module):
    """Self-attention with RMS-normalised queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gain = nn.Parameter(torch.full((heads, 1, 1), 1.0))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q = F.rms_norm(q, q.shape[-1:]) * self.gain.to(q.dtype)
        k = F.rms_norm(k, k.shape[-1:])
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(y.transpose(1, 2).reshape(b, n, d))
        return out


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the shared modulation."""

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.attention = Attention(shape.width, shape.heads)
        self.up = nn.Linear(shape.width, shape.mlp)
        self.down = nn.Linear(shape.mlp, shape.width)
        self.own = nn.Parameter(torch.zeros(6, shape.width))

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        m = (shared + self.own).unsqueeze(2)  # [B, 6, 1, d]
        x = x + m[:, 2] * self.attention(_modulate(x, m[:, 0], m[:, 1]))
        h = F.gelu(self.up(_modulate(x, m[:, 3], m[:, 4])), approximate="tanh")
        out: Tensor = x + m[:, 5] * self.down(h)
        return out


class TextResampler(nn.Module):
    """Learned queries attend over MiniLM's tokens: [B, T, 384] + mask → [B, K, width]."""

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        d = shape.width
        self.heads = shape.heads
        self.enter = nn.Linear(shape.text_features, d)
        self.queries = nn.Parameter(torch.randn(shape.text_tokens, d) * 0.5)
        self.key_value = nn.Linear(d, 2 * d, bias=False)
        self.mix = nn.Linear(d, d, bias=False)
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        b, n, _ = features.shape
        x = F.layer_norm(self.enter(features), (self.queries.shape[1],))
        k, v = (
            self.key_value(x)
            .reshape(b, n, 2, self.heads, x.shape[-1] // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        q = self.queries.reshape(1, -1, self.heads, k.shape[-1]).transpose(1, 2)
        q = q.expand(b, -1, -1, -1).to(k.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        y = y.transpose(1, 2).reshape(b, -1, x.shape[-1])
        y = self.mix(y)
        out: Tensor = y + self.down(F.gelu(self.up(F.layer_norm(y, y.shape[-1:]))))
        return F.layer_norm(out, out.shape[-1:])


def time_features(t: Tensor, width: int) -> Tensor:
    """Sinusoids of t in 0..1: [B] → [B, width], float32."""
    half = width // 2
    rates = torch.exp(torch.linspace(0, math.log(1000.0), half, device=t.device))
    angles = t.float()[:, None] * rates * math.pi
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Denoiser(nn.Module):
    """Predicts F from a noisy latent. See the module's text for F."""

    def __init__(self, shape: DenoiserShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or DenoiserShape()
        d = shape.width
        patch = CHANNELS * PATCH * PATCH
        self.text = TextResampler(shape)
        self.no_text = nn.Parameter(torch.randn(shape.text_tokens, d) * 0.5)
        self.enter = nn.Linear(2 * patch + 1, d)
        self.place = nn.Parameter(
            torch.randn(shape.chunks * (GRID // PATCH) ** 2 + shape.text_tokens, d) * 0.1
        )
        self.time = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))
        self.shared = nn.Linear(d, 6 * d)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.last = nn.Parameter(torch.zeros(2, d))
        self.leave = nn.Linear(d, patch)
        nn.init.zeros_(self.leave.weight)
        nn.init.normal_(self.shared.weight, std=0.02)
        nn.init.zeros_(self.shared.bias)
        with torch.no_grad():  # gates start open a little, so that every block learns at once
            self.shared.bias.view(6, d)[[2, 5]] = 0.3

    def _patches(self, z: Tensor) -> Tensor:
        b, n, c, h, w = z.shape
        z = z.reshape(b, n, c, h // PATCH, PATCH, w // PATCH, PATCH)
        return z.permute(0, 1, 3, 5, 2, 4, 6).reshape(b, -1, c * PATCH * PATCH)

    def _latent(self, x: Tensor) -> Tensor:
        b, g = x.shape[0], GRID // PATCH
        x = x.reshape(b, self.shape.chunks, g, g, CHANNELS, PATCH, PATCH)
        return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, -1, CHANNELS, GRID, GRID)

    def forward(self, z: Tensor, t: Tensor, text: Tensor, first: Tensor, given: Tensor) -> Tensor:
        """One prediction.

        Args:
            z: [B, 8, 16, 8, 8] noisy latent at time t (0 is noise, 1 is clean).
            t: [B] float32 in 0..1.
            text: [B, K, width], from `TextResampler` or `no_text`.
            first: [B, 16, 8, 8] first frame's latent, zeros where none is given.
            given: [B] 1.0 where a first frame is given, else 0.0.
        """
        b, n = z.shape[:2]
        scale = torch.rsqrt(t * t + (1 - t) ** 2)[:, None, None, None, None]
        noisy = self._patches(z * scale)
        given_first = (first * given[:, None, None, None])[:, None].expand(-1, n, -1, -1, -1)
        flag = given[:, None, None].expand(-1, noisy.shape[1], 1)
        seen = torch.cat([noisy, self._patches(given_first), flag], dim=-1)
        x = self.enter(seen.to(self.enter.weight.dtype))
        x = torch.cat([text.to(x.dtype), x], dim=1) + self.place.to(x.dtype)
        c = self.time(time_features(t, x.shape[-1]).to(x.dtype)) + text.mean(1)
        shared = self.shared(F.silu(c)).reshape(b, 6, -1)
        for block in self.blocks:
            x = block(x, shared)
        x = x[:, self.shape.text_tokens :]
        x = _modulate(x, self.last[0], self.last[1])
        return self._latent(self.leave(x)).float()


def velocity(z: Tensor, t: Tensor, predicted: Tensor) -> Tensor:
    """dz/dt from the prediction F; t broadcasts against z."""
    d = t * t + (1 - t) ** 2
    return ((2 * t - 1) * z * torch.rsqrt(d) + predicted) * torch.rsqrt(d)


def times(steps: int) -> list[float]:
    """The sampling times 0 = t_0 < … < t_steps = 1, denser where noise is high."""
    return [(i / steps) / (i / steps + 2 * (1 - i / steps)) for i in range(steps + 1)]
