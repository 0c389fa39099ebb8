"""Autoencoder: pairs of frames to and from an 8x8 grid of unit-length 16-vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 16
CHUNK_FRAMES = 2


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip connection; shape-preserving."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))
        return x + h


class AcrossTime(nn.Module):
    """A convolution over neighbouring chunks, so that a clip keeps one shape and one colour."""

    def __init__(self, width: int, chunks: int) -> None:
        super().__init__()
        self.chunks = chunks
        self.norm = nn.GroupNorm(8, width)
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        b = n // self.chunks
        y: Tensor = F.silu(self.norm(x)).reshape(b, self.chunks, c, h * w)
        y = self.conv(y.permute(0, 3, 2, 1).reshape(b * h * w, c, self.chunks))
        y = y.reshape(b, h * w, c, self.chunks).permute(0, 3, 2, 1)
        return x + y.reshape(n, c, h, w)


def unit_rms(z: Tensor) -> Tensor:
    """Scales each position's channel vector (dim -3) to a root mean square of 1."""
    return z * torch.rsqrt(z.square().mean(-3, keepdim=True) + 1e-6)


class Encoder(nn.Module):
    """Two RGB frames as 6 channels, [N, 6, 64, 64] in -1..1 → [N, 16, 8, 8], unit RMS."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(6 * 16, 64, 3, padding=1),
            Residual(64),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            Residual(128),
            nn.Conv2d(128, CHANNELS, 1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        return unit_rms(self.net(frames))


class Decoder(nn.Module):
    """[B*chunks, 16, 8, 8] → [B*chunks, 6, 64, 64] in about -1..1."""

    def __init__(self, chunks: int, wide: int = 128, fine: int = 96) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.Conv2d(CHANNELS, wide, 3, padding=1),
            Residual(wide),
            AcrossTime(wide, chunks),
            Residual(wide),
            AcrossTime(wide, chunks),
            Residual(wide),
        )
        self.fine = nn.Sequential(
            nn.Conv2d(wide, fine * 4, 1),
            nn.PixelShuffle(2),
            Residual(fine),
            Residual(fine),
            nn.Conv2d(fine, 6 * 16, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.fine(self.coarse(z))
        return out


class Autoencoder(nn.Module):
    """Clips [B, 16, 3, 64, 64] in -1..1 to latents [B, 8, 16, 8, 8] and back."""

    def __init__(self, frames: int = 16) -> None:
        super().__init__()
        self.chunks = frames // CHUNK_FRAMES
        self.encoder = Encoder()
        self.decoder = Decoder(self.chunks)

    def encode(self, clip: Tensor) -> Tensor:
        """[B, T, 3, 64, 64] → [B, T/2, 16, 8, 8]; any even T."""
        b, t = clip.shape[:2]
        pairs = clip.reshape(b * t // CHUNK_FRAMES, 6, *clip.shape[-2:])
        z: Tensor = self.encoder(pairs)
        return z.reshape(b, t // CHUNK_FRAMES, *z.shape[1:])

    def encode_still(self, frame: Tensor) -> Tensor:
        """One frame [B, 3, 64, 64] → its latent as a frozen pair [B, 16, 8, 8]."""
        z: Tensor = self.encoder(torch.cat([frame, frame], dim=1))
        return z

    def decode(self, z: Tensor) -> Tensor:
        """[B, 8, 16, 8, 8] → [B, 16, 3, 64, 64] in about -1..1."""
        b = z.shape[0]
        out: Tensor = self.decoder(z.reshape(b * self.chunks, *z.shape[2:]))
        return out.reshape(b, self.chunks * CHUNK_FRAMES, 3, *out.shape[-2:])
