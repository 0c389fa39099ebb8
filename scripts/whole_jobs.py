"""Default jobs run whole, quality beside quality: what stages cost, and how the videos compare.

Used by eval_depth.py and bench_adaptive.py.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from torch import Tensor

from reelmesh.node.stages.detail import Detailer
from reelmesh.node.stages.enlarge import arithmetic, enlarge
from reelmesh.node.stages.frames import Pictures, read_frames
from reelmesh.node.stages.local import run_plan_locally
from reelmesh.node.stages.media import MAX_FRAMES, MediaLimits
from reelmesh.node.stages.realesrgan import load_network
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import TextToVideo
from reelmesh.scheduler.templates import make_plan
from scripts.eval_size import SCENES, SHOWN, TOTAL, drawn, keys_of, scores, timeline
from scripts.train_tiny_t2v.probe import Probe
from scripts.train_tiny_t2v.scores import score

SIDE, READ = 512, 16
_STILL = 12  # of 255: what changes less between two frames is ground, and should not change at all


def plan_for(prompt: str, seed: int, quality: str, **fields: Any) -> Plan:
    """The plan of a default job."""
    given = {"prompt": prompt, "seed": seed, "quality": quality, **fields}
    return make_plan(TextToVideo.model_validate(given))


def run_jobs(
    prompts: Sequence[str], index: Tensor, qualities: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """For each quality: seconds of one thread in each stage, a job; what the probe reads in the
    videos as they are delivered, reduced again; and how far auto's enlarging is from dense work.
    """
    spent: dict[str, Counter[str]] = {quality: Counter() for quality in qualities}
    videos: dict[str, list[Tensor]] = {quality: [] for quality in qualities}
    apart: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:  # what is only done once is done before
        first = plan_for("a ball", 0, "draft", seconds=1, width=256, height=256)
        run_plan_locally(first, Path(folder))
    for i, prompt in enumerate(prompts):  # in turns: a machine's mood is shared by all
        for quality in qualities if i % 2 else reversed(qualities):
            with tempfile.TemporaryDirectory() as folder:
                video, seconds = _run(plan_for(prompt, i, quality), Path(folder))
                spent[quality] += seconds
                videos[quality].append(delivered(video))
                if quality == "auto":
                    apart.append(_fidelity(Path(folder)))
    probe = Probe.shipped()
    told: dict[str, dict[str, Any]] = {
        quality: {
            "cpu_s": {k: round(v / len(prompts), 3) for k, v in spent[quality].items()},
            "cpu_s_per_job": round(spent[quality].total() / len(prompts), 2),
            "scores": score(probe.read(torch.stack(videos[quality])), index),
        }
        for quality in qualities
    }
    if apart:
        told["auto"]["against_dense"] = {
            "psnr_db": round(float(np.mean([a["psnr_db"] for a in apart])), 1),
            "least_psnr_db": round(min(a["psnr_db"] for a in apart), 1),
            "largest": max(a["largest"] for a in apart),
            "largest_inside": max(a["largest_inside"] for a in apart),
            "share": round(float(np.mean([a["share"] for a in apart])), 3),
            "most_share": round(max(a["share"] for a in apart), 3),
            "flicker": round(float(np.mean([a["flicker"] for a in apart])), 3),
            "dense_flicker": round(float(np.mean([a["dense_flicker"] for a in apart])), 3),
        }
    return told


def _run(plan: Plan, folder: Path) -> tuple[Path, Counter[str]]:
    stage_of = {task.id: task.stage for task in plan.subtasks}
    spent: Counter[str] = Counter()
    last = [time.process_time()]

    def on_progress(subtask: str, _fraction: float, _note: str) -> None:
        now = time.process_time()
        spent[stage_of[subtask]] += now - last[0]  # type: ignore[assignment]
        last[0] = now

    return run_plan_locally(plan, folder, on_progress=on_progress), spent


def delivered(video: Path) -> Tensor:
    """READ frames of a finished video, from end to end, as the probe sees them: [T, 3, 64, 64]."""
    with av.open(str(video)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    at = np.linspace(0, len(frames) - 1, READ).round().astype(int)
    small = [cv2.resize(frames[i], (64, 64), interpolation=cv2.INTER_AREA) for i in at]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)


def _networks() -> tuple[Any, Detailer]:
    cpu = torch.device("cpu")
    network = load_network(cpu, arithmetic(cpu))
    return network, Detailer(network)


def _fidelity(folder: Path) -> dict[str, float]:
    """Of the small frames of a job in `folder`: every 24th and its next, enlarged in both ways."""
    small = read_frames(folder / "interpolate" / "frames.mkv", MediaLimits(MAX_FRAMES))
    network, detailer = _networks()
    rows = []
    for pair in _pairs(small):
        sparse = np.stack([detailer.enlarge(picture, SIDE, SIDE)[0] for picture in pair])
        dense = enlarge(network, torch.from_numpy(pair), SIDE, SIDE).numpy()
        error = np.abs(sparse.astype(int) - dense)
        still = (_change(sparse) < _STILL) & (_change(dense) < _STILL)
        rows.append(
            (
                10 * np.log10(255**2 / np.mean(error.astype(float) ** 2)),
                error.max(),
                error[:, 32:-32, 32:-32].max(),
                _change(sparse)[still].mean(),
                _change(dense)[still].mean(),
            )
        )
    psnr, largest, inside, flicker, dense_flicker = zip(*rows, strict=True)
    return {
        "psnr_db": float(np.mean(psnr)),
        "largest": int(max(largest)),
        "largest_inside": int(max(inside)),
        "flicker": float(np.mean(flicker)),
        "dense_flicker": float(np.mean(dense_flicker)),
        "share": detailer.share,
    }


def _pairs(small: Pictures) -> Iterator[Pictures]:
    for at in range(8, len(small) - 1, 24):
        yield small[at : at + 2]


def _change(pair: Pictures) -> Any:
    return np.abs(pair[1].astype(int) - pair[0]).max(axis=2)


def against_truth() -> dict[str, list[float]]:
    """[PSNR in dB, SSIM, sharpness over the truth's] of drawn clips, enlarged in both ways."""
    network, detailer = _networks()
    ways: dict[str, list[list[float]]] = {"dense": [], "sparse": []}
    for scene in SCENES:
        truth = [drawn(scene, SIDE, i / (TOTAL - 1)) for i in SHOWN]
        small = timeline(keys_of(scene))
        dense = enlarge(network, torch.from_numpy(np.stack(small)), SIDE, SIDE).numpy()
        ways["dense"].append(scores(list(dense), truth))
        sparse = [detailer.enlarge(picture, SIDE, SIDE)[0] for picture in small]
        ways["sparse"].append(scores(sparse, truth))
    return {way: np.mean(rows, axis=0).round(4).tolist() for way, rows in ways.items()}
