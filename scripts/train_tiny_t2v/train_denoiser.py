"""Trains the text resampler and the denoiser together, on precomputed latents and captions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelmesh.node.stages.tiny_t2v.autoencoder import Autoencoder
from reelmesh.node.stages.tiny_t2v.denoiser import Denoiser, DenoiserShape, times, velocity
from reelmesh.node.stages.tiny_t2v.world import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SIZES,
    all_scenes,
)

from . import text_bank
from .clock import Clock
from .optim import Average, Optimiser
from .render import random_offsets, render, scene_indices
from .train_autoencoder import as_input

_CLASSES = (len(SIZES), len(COLOURS), len(SHAPES), len(MOTIONS), len(BACKGROUNDS))


@dataclass
class Bank:
    """Training data on the device."""

    scenes: Tensor  # int64 [N, 5]
    latents: Tensor  # [N, 8, 16, 8, 8], whitened
    firsts: Tensor  # [N, 16, 8, 8], whitened
    text: Tensor  # [N*wordings, 32, 384]
    mask: Tensor  # bool [N*wordings, 32]
    told: Tensor  # bool [N*wordings, 5]
    wordings: int
    whiten: tuple[Tensor, Tensor]


def whitening(latents: Tensor) -> tuple[Tensor, Tensor]:
    """ZCA matrix [C, C] and mean [C] from [N, 8, C, 8, 8]."""
    flat = latents.float().transpose(1, 2).transpose(0, 1).flatten(1)
    mean = flat.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(flat).double())
    matrix = vectors @ torch.diag(values.clamp(min=1e-4).rsqrt()) @ vectors.T
    return matrix.float(), mean


def make_bank(
    autoencoder: Autoencoder,
    folder: Path,
    device: torch.device,
    clips: int,
    wordings: int,
    workers: int,
    seed: int = 5,
    whiten: tuple[Tensor, Tensor] | None = None,
) -> Bank:
    """Renders and encodes clips of the scenes in training, and writes and encodes captions.

    Without `whiten` the whitening is measured on the first 512 clips.
    """
    rng = random.Random(seed)
    allowed = [s for s in all_scenes() if not s.held_out()]
    scenes = rng.choices(allowed, k=clips)
    ids, told = text_bank.write_captions(scenes, folder, wordings, workers, seed + 2)
    ids_there = torch.from_numpy(ids.astype("int16")).to(device)
    text = text_bank.features(text_bank.encoder(folder, device), ids_there)
    index = scene_indices(scenes)
    offsets = random_offsets(index, torch.Generator().manual_seed(seed))
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    latents = torch.empty(clips, 8, 16, 8, 8, dtype=kind, device=device)
    firsts = torch.empty(clips, 16, 8, 8, dtype=kind, device=device)
    with torch.inference_mode():
        for i in range(0, clips, 512):
            part = slice(i, i + 512)
            frames, _ = render(index[part].to(device), offsets[part])
            clip = as_input(frames)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                z, first = autoencoder.encode(clip), autoencoder.encode_still(clip[:, 0])
            whiten = whiten or whitening(z)
            matrix, mean = whiten
            shift = mean[:, None, None]
            latents[part] = torch.einsum("dc,bnchw->bndhw", matrix, z.float() - shift)
            firsts[part] = torch.einsum("dc,bchw->bdhw", matrix, first.float() - shift)
    if whiten is None:
        raise ValueError("no clips")
    return Bank(
        index.to(device), latents, firsts, text, ids_there != 0,
        torch.from_numpy(told).to(device), wordings, whiten,
    )  # fmt: skip


class Lesson(nn.Module):
    """The loss of one batch: flow prediction, plus reading attributes off the text tokens."""

    def __init__(
        self,
        denoiser: Denoiser,
        read_weight: float,
        classes: tuple[int, ...] = _CLASSES,
        lean: float = -1.0,
    ) -> None:
        super().__init__()
        self.lean = lean
        self.read_weight = read_weight
        self.denoiser = denoiser
        s = denoiser.shape
        self.heads = nn.ModuleList(nn.Linear(s.text_tokens * s.width, n) for n in classes)

    def forward(
        self, x: Tensor, first: Tensor, text: Tensor, mask: Tensor, scenes: Tensor, told: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        b, device = len(x), x.device
        x = x.float()
        text = text + 0.03 * torch.randn_like(text)
        mask = mask & (torch.rand(mask.shape, device=device) > 0.01)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1)
        tokens = self.denoiser.text(text, mask)
        read = torch.zeros((), device=device)
        for i, head in enumerate(self.heads):
            each = F.cross_entropy(head(tokens.flatten(1)).float(), scenes[:, i], reduction="none")
            read = read + (each * told[:, i]).mean()
        silent = (torch.rand(b, device=device) < 0.1)[:, None, None]
        tokens = torch.where(silent, self.denoiser.no_text.to(tokens.dtype), tokens)
        given = (torch.rand(b, device=device) < 0.25).float()
        t = torch.sigmoid(torch.randn(b, device=device) * 1.2 + self.lean)
        e = torch.randn_like(x)
        at = t[:, None, None, None, None]
        z = at * x + (1 - at) * e
        d = at * at + (1 - at) ** 2
        target = ((1 - at) * x - at * e) * torch.rsqrt(d)
        predicted = self.denoiser(z, t, tokens, first.float(), given)
        flow = (predicted - target).square().mean()
        return flow + self.read_weight * read, flow.detach(), read.detach()


def _split(lesson: Lesson) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    matrices, rest = [], []
    for name, p in lesson.named_parameters():
        inner = p.ndim == 2 and name.endswith("weight") and (
            ".blocks." in name or ".text." in name
        )  # fmt: skip
        (matrices if inner else rest).append(p)
    return matrices, rest


def train(
    bank: Bank,
    device: torch.device,
    seconds: float,
    batch: int = 1024,
    steps: int | None = None,
    start: dict[str, Tensor] | None = None,
    rate: float = 1.0,
    compiled: bool = True,
) -> tuple[Denoiser, int]:
    """Trains for a time; returns the averaged denoiser and the number of steps."""
    torch.manual_seed(0 if start is None else 1)
    denoiser = Denoiser(DenoiserShape()).to(device)
    if start is not None:
        denoiser.load_state_dict(start)
    # A resumed run's reading heads are new and would only disturb text tokens that are right.
    lesson = Lesson(denoiser, 0.05 if start is None else 0.0).to(device)
    optimiser = Optimiser(*_split(lesson), lr=3e-3 * rate, adam_lr=1.5e-3 * rate)
    average = Average(denoiser, 0.9995)
    run = torch.compile(lesson) if compiled and device.type == "cuda" else lesson
    clock, count = Clock(seconds, steps), len(bank.latents)
    while (progress := clock.tick()) < 1:
        pick = torch.randint(count, (batch,), device=device)
        words = pick * bank.wordings + torch.randint(bank.wordings, (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, flow, read = run(
                bank.latents[pick], bank.firsts[pick], bank.text[words], bank.mask[words],
                bank.scenes[pick], bank.told[words],
            )  # fmt: skip
        loss.backward()
        optimiser.step(clock.rate(progress))
        average.update()
        if clock.done % 500 == 1 or (steps and clock.done % 5 == 0):
            print(
                f"denoiser {clock.done} {clock.elapsed():.0f}s flow {float(flow):.4f} "
                f"read {float(read):.4f}",
                flush=True,
            )
    denoiser.load_state_dict(average.state())
    return denoiser.eval().requires_grad_(False), clock.done


@torch.inference_mode()
def sample(
    denoiser: Denoiser,
    text: Tensor,
    mask: Tensor,
    noise: Tensor,
    first: Tensor | None = None,
    steps: int = 20,
    guidance: float = 3.0,
) -> Tensor:
    """Batched sampling for checks while training: → whitened latents [B, 8, 16, 8, 8]."""
    b = len(noise)
    tokens = denoiser.text(text.float(), mask)
    both = torch.cat([tokens, denoiser.no_text.expand(b, -1, -1)])
    given = torch.full((2 * b,), 0.0 if first is None else 1.0, device=noise.device)
    first = torch.zeros_like(noise[:, 0]) if first is None else first.float()
    z, at = noise, times(steps)
    for i in range(steps):
        t = torch.full((2 * b,), at[i], device=z.device)
        f = denoiser(torch.cat([z, z]), t, both, torch.cat([first, first]), given)
        f = f[b:] + guidance * (f[:b] - f[b:])
        z = z + (at[i + 1] - at[i]) * velocity(z, t[0], f)
    return z
