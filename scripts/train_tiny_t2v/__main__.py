"""Trains the embedded model: python -m scripts.train_tiny_t2v --device cuda

Phases: pack (a small copy of the text encoder, to carry), probe, autoencoder, denoiser,
export. Each leaves its result in --work, and a later phase starts from there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.autoencoder import Autoencoder, unit_rms
from reelmesh.node.stages.tiny_t2v.denoiser import Denoiser
from reelmesh.node.stages.tiny_t2v.world import Scene, all_scenes

from . import text_bank, train_autoencoder, train_denoiser, train_probe
from .captions import canonical
from .export import export
from .probe import Probe, ShapeNet
from .render import scene_indices
from .scores import score


def as_frames(clip: Tensor) -> Tensor:
    """Decoder output → uint8."""
    return ((clip.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def check_autoencoder(
    model: Autoencoder, probe: Probe, device: torch.device, count: int = 512
) -> None:
    """Prints what the probe reads on truth, reconstruction and noisy reconstruction."""
    scenes, frames, _ = train_autoencoder.clip_pool(count, device, seed=99, held_out=True)
    scenes = scenes.to(device)
    print("truth", score(probe.read(frames), scenes))
    with torch.inference_mode():
        z = model.encode(train_autoencoder.as_input(frames))
        for noise in (0.0, 0.15, 0.3):
            clip = model.decode(unit_rms(z + noise * torch.randn_like(z)))
            mse = float((clip - train_autoencoder.as_input(frames)).square().mean()) / 4
            print(
                f"rebuilt noise {noise} mse {mse:.5f}", score(probe.read(as_frames(clip)), scenes)
            )


def check_denoiser(
    bank: train_denoiser.Bank, denoiser: Denoiser, model: Autoencoder, probe: Probe,
    folder: Path, device: torch.device, count: int = 512,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Scores held-out captions at a few guidance scales, and image to video."""
    generator = torch.Generator().manual_seed(11)
    held = [s for s in all_scenes() if s.held_out()]
    picks = torch.randperm(len(held), generator=generator)[:count].tolist()
    chosen: list[Scene] = [held[i] for i in picks]
    scenes = scene_indices(chosen).to(device)
    ids = text_bank.tokens(text_bank.tokenizer(folder), [canonical(s) for s in chosen])
    there = torch.from_numpy(ids.astype("int16")).to(device)
    text = text_bank.features(text_bank.encoder(folder, device), there)
    noise = torch.randn(len(chosen), 8, 16, 8, 8, generator=generator).to(device)
    matrix, mean = bank.whiten
    back = torch.linalg.inv(matrix)
    offsets = train_autoencoder.random_offsets(scenes, generator)
    frames, _ = train_autoencoder.render(scenes, offsets)
    first = model.encode_still(train_autoencoder.as_input(frames[:, 0]))
    first = torch.einsum("dc,bchw->bdhw", matrix, first - mean[:, None, None])
    out = {}
    for name, guidance, start in (
        ("g1", 1.0, None), ("g1.5", 1.5, None), ("g2", 2.0, None), ("g3", 3.0, None),
        ("i2v g1.5", 1.5, first), ("i2v g2", 2.0, first),
    ):  # fmt: skip
        z = train_denoiser.sample(denoiser, text, there != 0, noise, start, guidance=guidance)
        raw = torch.einsum("dc,bnchw->bndhw", back, z) + mean[:, None, None]
        clip = as_frames(model.decode(unit_rms(raw)))
        out[name] = score(probe.read(clip), scenes)
        print(name, out[name], flush=True)
    return out


def main() -> None:
    """Runs the named phases in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phases", nargs="*", default=["probe", "autoencoder", "denoiser", "export"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=Path("build/tiny_t2v"))
    parser.add_argument("--text-encoder", type=Path, help="MiniLM folder; default: its package")
    parser.add_argument("--autoencoder-seconds", type=float, default=150)
    parser.add_argument("--probe-seconds", type=float, default=25)
    parser.add_argument("--denoiser-seconds", type=float, default=480)
    parser.add_argument("--clips", type=int, default=400_000)
    parser.add_argument("--pool", type=int, default=32_768)
    parser.add_argument("--wordings", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--steps", type=int, help="a fixed number of steps instead of a time")
    parser.add_argument("--checks", type=int, default=512)
    parser.add_argument("--resume", action="store_true", help="go on from --work's denoiser")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on learning rates")
    args = parser.parse_args()
    device, work, began = torch.device(args.device), args.work, time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    folder = args.text_encoder
    if folder is None:
        from reelmesh.node.stages.tiny_t2v.released import encoder_folder

        folder = encoder_folder()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True

    def says(what: str) -> None:
        print(f"[{time.monotonic() - began:.0f}s] {what}", flush=True)

    if "pack" in args.phases:
        text_bank.pack(folder, work / "minilm")
    if "probe" in args.phases:
        net = train_probe.train(device, args.probe_seconds, args.pool // 4, args.steps)
        save_file(
            {k: v.half().cpu() for k, v in net.state_dict().items()}, work / "probe.safetensors"
        )
        says("probe saved")
    if "autoencoder" in args.phases:
        ae = train_autoencoder.train(
            device, args.autoencoder_seconds, args.pool, min(64, args.batch), args.steps
        )
        save_file(
            {k: v.contiguous().cpu() for k, v in ae.state_dict().items()},
            work / "autoencoder.safetensors",
        )
        says("autoencoder saved")
        check_autoencoder(ae, _probe(work, device), device, args.checks)
    if "denoiser" in args.phases:
        ae = _autoencoder(work, device)
        start = load_file(work / "denoiser.safetensors") if args.resume else None
        whiten = None
        if args.resume:
            saved = load_file(work / "whiten.safetensors", device=str(device))
            whiten = saved["matrix"], saved["mean"]
        seed = 6 if args.resume else 5
        bank = train_denoiser.make_bank(
            ae, folder, device, args.clips, args.wordings, args.workers, seed, whiten
        )
        says("bank made")
        left = args.denoiser_seconds
        denoiser, steps = train_denoiser.train(
            bank, device, left, args.batch, args.steps, start, args.rate
        )
        matrix, mean = bank.whiten
        state = {k: v.half().contiguous().cpu() for k, v in denoiser.state_dict().items()}
        save_file(state, work / "denoiser.safetensors")
        save_file({"matrix": matrix.cpu(), "mean": mean.cpu()}, work / "whiten.safetensors")
        says(f"denoiser saved after {steps} steps")
        result = check_denoiser(
            bank, denoiser, ae, _probe(work, device), folder, device, args.checks
        )
        (work / "checks.json").write_text(
            json.dumps({"steps": steps, "held_out": result}, indent=1)
        )
    if "export" in args.phases:
        says(f"exported {export(work)}")


def _autoencoder(work: Path, device: torch.device) -> Autoencoder:
    model = Autoencoder().to(device)
    model.load_state_dict(load_file(work / "autoencoder.safetensors"))
    return model.eval().requires_grad_(False)


def _probe(work: Path, device: torch.device) -> Probe:
    net = ShapeNet()
    state = load_file(work / "probe.safetensors")
    net.load_state_dict({k: v.float() for k, v in state.items()})
    return Probe(net, device)


if __name__ == "__main__":
    main()
