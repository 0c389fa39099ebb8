"""Widens a trained model's world: python -m scripts.train_tiny_t2v.train_wide words|train|export

`words` (CPU) writes scenes, captions' tokens and a small copy of the text encoder to --work;
`train` goes on from the shipped weights on the device, for as long as --until says, and keeps
an averaged copy in --out; `export` puts that copy into the file that ships. The autoencoder
stays as it is, and so do the latents.

A later run may look harder at what an earlier one left weak: `words --mix 0.15,0.4,0.25` sets how
much is of the first world, collisions and cycles at a speed, and `train --lean` how noisy.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor
from torch._dynamo import config as dynamo
from torch.nn.attention import SDPBackend, sdpa_kernel

from reelmesh.node.stages.tiny_t2v.autoencoder import Autoencoder, unit_rms
from reelmesh.node.stages.tiny_t2v.denoiser import Denoiser
from reelmesh.node.stages.tiny_t2v.released import WEIGHTS
from reelmesh.node.stages.tiny_t2v.wide import (
    CAMERAS,
    EVENTS,
    SPEEDS,
    WideScene,
    draw_scene,
)
from reelmesh.node.stages.tiny_t2v.world import COLOURS, SHAPES, Scene, all_scenes

from . import text_bank
from .captions import canonical, caption
from .clock import Clock
from .optim import Average, Optimiser
from .probe import Probe
from .prompts import FREE
from .scores import score
from .train_autoencoder import as_input
from .train_denoiser import Lesson, _split, sample
from .wide_captions import FREE_WIDE, canonical_wide, caption_wide
from .wide_probe import WideProbe
from .wide_render import CYCLIC, jitters, render_wide, rows
from .wide_scores import hits, shares

WORDINGS = 2
_OLD_SHARE = 0.42
#: What the text tokens are made to tell: columns of `labels` and how many values each has.
_CLASSES = (len(COLOURS), len(SHAPES), len(COLOURS), len(SHAPES), 3, len(CAMERAS), len(SPEEDS),
            len(EVENTS))  # fmt: skip


def labels(r: Tensor) -> Tensor:
    """[B, 8]: the upper or left object first, as one picture has two descriptions."""
    swap = (r[:, 9] == 2) | (r[:, 9] == 4)
    first = torch.where(swap[:, None], r[:, [7, 8]], r[:, [0, 1]])
    second = torch.where(swap[:, None], r[:, [0, 1]], r[:, [7, 8]])
    axis = torch.tensor([0, 1, 1, 2, 2], device=r.device)[r[:, 9]]
    return torch.cat([first, second, torch.stack([axis, r[:, 6], r[:, 5], r[:, 10]], 1)], dim=1)


def checked_scenes(count: int) -> tuple[list[WideScene], list[Scene]]:
    """Held-out scenes of the wider and of the first world, for checks after training."""
    rng = random.Random(99)
    old = [s for s in all_scenes() if s.held_out()]
    return [draw_scene(rng, held_out=True) for _ in range(count)], rng.sample(old, count)


def _words(scene: WideScene | Scene, rng: random.Random) -> str:
    return caption_wide(scene, rng) if isinstance(scene, WideScene) else caption(scene, rng)[0]


def pick_scene(rng: random.Random, old: list[Scene], mix: tuple[float, ...]) -> WideScene | Scene:
    """A scene of the first world, a collision, a cycle at a speed, or any of the wider world."""
    kind = rng.random()
    if kind < mix[0]:
        return rng.choice(old)
    collides = kind < sum(mix[:2])
    cycles = not collides and kind < sum(mix)
    while True:
        scene = draw_scene(rng)
        if collides and scene.event == "none":
            continue
        if cycles and (scene.motion not in CYCLIC or scene.speed == "normal"):
            continue
        return scene


def write_words(
    work: Path, folder: Path, count: int, checks: int, mix: tuple[float, ...], seed: int
) -> None:
    """Scenes and tokens of the captions, to train and to check with."""
    rng, old = random.Random(seed), [s for s in all_scenes() if not s.held_out()]
    scenes: list[WideScene | Scene] = []
    texts: list[str] = []
    for _ in range(count):
        scene = pick_scene(rng, old, mix)
        scenes.append(scene)
        texts.extend(_words(scene, rng) for _ in range(WORDINGS))
    wide, first = checked_scenes(checks)
    asked = [canonical_wide(s) for s in wide] + [p for p, _ in FREE_WIDE]
    asked += [canonical(s) for s in first] + [p for p, _ in FREE]
    t, generator = text_bank.tokenizer(folder), torch.Generator().manual_seed(seed)
    ids, check_ids = text_bank.tokens(t, texts), text_bank.tokens(t, asked)
    work.mkdir(parents=True, exist_ok=True)
    table = rows(scenes, generator).numpy().astype(np.uint8)
    np.savez_compressed(work / "words.npz", rows=table, ids=ids, check_ids=check_ids)
    used = np.union1d(np.unique(ids), np.unique(check_ids))
    text_bank.copy_rows(folder, work / "minilm", set(used.tolist()))


class _Bank:
    """Latents, first frames and text states on the device."""

    def __init__(self, work: Path, device: torch.device, times: int) -> None:
        words = np.load(work / "words.npz")
        self.device = device
        self.encoder = text_bank.encoder(work / "minilm", device)
        self.rows = torch.from_numpy(words["rows"].astype("int64")).to(device)
        ids = torch.from_numpy(words["ids"].astype("int16")).to(device)
        self.text, self.mask = text_bank.features(self.encoder, ids), ids != 0
        self.check_ids = torch.from_numpy(words["check_ids"].astype("int16")).to(device)
        self.labels = labels(self.rows)
        pair = self.rows[:, 9:10] > 0
        wide = pair | (self.rows[:, 5:6] > 0) | (self.rows[:, 6:7] > 0)
        tells = torch.tensor([1, 1, 0, 0, 1, 1, 1, 1], device=device, dtype=torch.bool)
        self.told = torch.where(pair, torch.ones_like(tells), tells) & wide
        self.times = times

    @torch.inference_mode()
    def draw(self, model: Autoencoder, whiten: tuple[Tensor, Tensor], seed: int) -> None:
        """Renders each scene `times` times and keeps the whitened latents."""
        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        total, matrix, mean = len(self.rows) * self.times, whiten[0], whiten[1][:, None, None]
        self.latents = torch.empty(total, 8, 16, 8, 8, dtype=kind, device=self.device)
        self.firsts = torch.empty(total, 16, 8, 8, dtype=kind, device=self.device)
        generator = torch.Generator().manual_seed(seed)
        for i in range(0, total, 512):
            pick = torch.arange(i, min(i + 512, total), device=self.device) % len(self.rows)
            clip = as_input(render_wide(self.rows[pick], jitters(len(pick), generator)))
            with _in_bfloat16(self.device):
                z, first = model.encode(clip), model.encode_still(clip[:, 0])
            self.latents[i : i + 512] = torch.einsum("dc,bnchw->bndhw", matrix, z.float() - mean)
            self.firsts[i : i + 512] = torch.einsum("dc,bchw->bdhw", matrix, first.float() - mean)


def _in_bfloat16(device: torch.device) -> torch.autocast:
    """Where products in bfloat16 are faster: on a GPU, and on a CPU with AMX."""
    flags = Path("/proc/cpuinfo")
    quick = device.type == "cuda" or (flags.exists() and "amx_tile" in flags.read_text())
    return torch.autocast(device.type, torch.bfloat16, enabled=quick)


def _attention(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """On a CPU, backwards, the fused kernel takes more than twice what plain products take."""
    plain: contextlib.AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain if device.type == "cpu" else contextlib.nullcontext()


def _save(average: Average, out: Path) -> None:
    state = {k: v.half().contiguous().cpu() for k, v in average.state().items()}
    save_file(state, out / "denoiser.part")
    (out / "denoiser.part").replace(out / "denoiser.safetensors")


def train(
    bank: _Bank, start: dict[str, Tensor], out: Path, args: argparse.Namespace
) -> dict[str, Tensor]:
    """Trains until the clock says; returns the averaged weights."""
    torch.manual_seed(args.seed)
    denoiser = Denoiser().to(bank.device)
    denoiser.load_state_dict(start)
    lesson = Lesson(denoiser, args.read, _CLASSES, args.lean).to(bank.device)
    optimiser = Optimiser(*_split(lesson), lr=3e-3 * args.rate, adam_lr=1.5e-3 * args.rate)
    if args.compiled:
        for block in denoiser.blocks:  # one compilation serves all: they differ in weights alone
            block.compile(dynamic=False)
    average, count = Average(denoiser, 0.999), len(bank.rows)
    clock = Clock(max(1.0, args.until - time.time()), args.steps)
    saved = time.monotonic()
    while (progress := clock.tick()) < 1:
        pick = torch.randint(len(bank.latents), (args.batch,), device=bank.device)
        scene = pick % count
        words = scene * WORDINGS + torch.randint(WORDINGS, pick.shape, device=bank.device)
        with _attention(bank.device), _in_bfloat16(bank.device):
            loss, flow, read = lesson(
                bank.latents[pick], bank.firsts[pick], bank.text[words], bank.mask[words],
                bank.labels[scene], bank.told[scene],
            )  # fmt: skip
        loss.backward()
        optimiser.step(clock.rate(progress, flat=0.4))
        average.update()
        if clock.done % 100 == 1 or args.steps:
            print(f"step {clock.done} {clock.elapsed():.0f}s flow {float(flow):.4f} "
                  f"read {float(read):.4f}", flush=True)  # fmt: skip
        if time.monotonic() - saved > 20:
            _save(average, out)
            saved = time.monotonic()
    _save(average, out)
    return average.state()


@torch.inference_mode()
def check(bank: _Bank, state: dict[str, Tensor], model: Autoencoder, probe: Probe,
          whiten: tuple[Tensor, Tensor], count: int) -> None:  # fmt: skip
    """Prints what the probe reads on held-out scenes and free wordings of both worlds."""
    device = bank.device
    denoiser = Denoiser().to(device)
    denoiser.load_state_dict({k: v.float() for k, v in state.items()})
    denoiser.eval().requires_grad_(False)
    wide, old = checked_scenes(count)
    generator = torch.Generator().manual_seed(3)
    text, mask = text_bank.features(bank.encoder, bank.check_ids), bank.check_ids != 0
    noise = torch.randn(len(text), 8, 16, 8, 8, generator=generator).to(device)
    free = [scene for _, scene in FREE_WIDE]
    table = rows([*wide, *free, *old], generator).to(device)
    reader, back = WideProbe(probe, device), torch.linalg.inv(whiten[0])
    mean, ends = whiten[1][:, None, None], (count, count + len(free), 2 * count + len(free))
    truth = render_wide(table[:count], jitters(count, generator))
    print("truth", shares(hits(reader, truth, table[:count])), flush=True)
    for guidance in (2.0, 3.0):
        z = sample(denoiser, text, mask, noise, guidance=guidance)
        raw = torch.einsum("dc,bnchw->bndhw", back, z) + mean
        clip = ((model.decode(unit_rms(raw)).float() + 1) * 127.5).round().clamp(0, 255).byte()
        part = [slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])]
        print(guidance, "wide", shares(hits(reader, clip[part[0]], table[part[0]])))
        print(guidance, "free", shares(hits(reader, clip[part[1]], table[part[1]])))
        index = table[part[2]][:, [3, 0, 1, 4, 2]]
        read = {k: v[part[2]] for k, v in probe.read(clip).items()}
        print(guidance, "first world", score(read, index), flush=True)


def export_part(prefix: str, state: dict[str, Tensor], weights: Path = WEIGHTS) -> str:
    """Replaces tensors of "denoiser." or "autoencoder." in the shipped file; the new sha256."""
    tensors = load_file(weights)
    tensors.update({f"{prefix}{k}": v.half().contiguous() for k, v in state.items()})
    data, card = save(tensors), json.loads(weights.with_suffix(".json").read_text())
    card |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    weights.write_bytes(data)
    weights.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return str(card["sha256"])


def _shares(text: str) -> tuple[float, ...]:
    found = tuple(float(part) for part in text.split(","))
    if len(found) != 3 or min(found) < 0 or sum(found) > 1:
        raise argparse.ArgumentTypeError("three shares, in all at most 1")
    return found


def main() -> None:
    """Runs the named phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=("words", "train", "export"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=Path("build/tiny_t2v"))
    parser.add_argument("--out", type=Path, default=Path("build/tiny_t2v"))
    parser.add_argument("--weights", type=Path, help="a denoiser to go on from; default: shipped")
    parser.add_argument("--scenes", type=int, default=64_000)
    parser.add_argument("--times", type=int, default=2, help="clips drawn of each scene")
    parser.add_argument("--checks", type=int, default=384)
    parser.add_argument("--batch", type=int, default=768)
    parser.add_argument("--rate", type=float, default=0.5, help="factor on learning rates")
    parser.add_argument("--until", type=float, default=time.time() + 600, help="seconds of epoch")
    parser.add_argument("--steps", type=int, help="a fixed number of steps instead of a time")
    parser.add_argument(
        "--mix",
        type=_shares,
        default=(_OLD_SHARE, 0.0, 0.0),
        help="first world, collisions, cycles at a speed; the rest is the wider",
    )
    parser.add_argument("--lean", type=float, default=-1.0, help="mean of the noise levels' logits")
    parser.add_argument("--read", type=float, default=0.05, help="weight of the tokens' reading")
    parser.add_argument("--seed", type=int, default=2, help="of the scenes, their clips and noise")
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    args = parser.parse_args()
    device, began = torch.device(args.device), time.monotonic()
    if args.phase == "words":
        from reelmesh.node.stages.tiny_t2v.released import encoder_folder

        write_words(args.work, encoder_folder(), args.scenes, args.checks, args.mix, args.seed)
        return
    if args.phase == "export":
        print(export_part("denoiser.", load_file(args.out / "denoiser.safetensors")))
        return
    dynamo.suppress_errors = True  # slower is better than nothing
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    shipped = {k: v.float() for k, v in load_file(WEIGHTS, device=str(device)).items()}
    model = Autoencoder().to(device)
    model.load_state_dict(part_of(shipped, "autoencoder."))
    model.eval().requires_grad_(False)
    whiten = shipped["whiten.matrix"], shipped["whiten.mean"]
    bank = _Bank(args.work, device, args.times)
    print(f"[{time.monotonic() - began:.0f}s] text read", flush=True)
    bank.draw(model, whiten, args.seed)
    print(f"[{time.monotonic() - began:.0f}s] {len(bank.latents)} clips drawn", flush=True)
    start = load_file(args.weights) if args.weights else part_of(shipped, "denoiser.")
    state = train(bank, start, args.out, args)
    print(f"[{time.monotonic() - began:.0f}s] trained", flush=True)
    check(bank, state, model, Probe.shipped(device), whiten, args.checks)
    print(f"[{time.monotonic() - began:.0f}s] checked", flush=True)


def part_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


if __name__ == "__main__":
    main()
