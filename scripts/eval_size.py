"""Measures large sizes against drawn truth: python scripts/eval_size.py [--json]

Clips of 16 frames at 64x64, with a little noise, are drawn by formula, and so is what they should
look like large. Two ways lead there: each frame of the timeline enlarged as it is, and the stages'
way (key frames refined first). Printed: PSNR, SSIM, and sharpness (the truth's is 1) of both; the
share of dense work that is computed; how far tiles that were coded and joined are from the whole,
and the gradient across their border over that across other borders of coding blocks. Exits 1 when
refining does not gain, or a seam shows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages.background import plain_colour, smoothed
from reelmesh.node.stages.enlarge import arithmetic, enlarge
from reelmesh.node.stages.interpolate import make_timeline
from reelmesh.node.stages.join_tiles import joined
from reelmesh.node.stages.painting import Faithful, Painter, Window
from reelmesh.node.stages.realesrgan import RealEsrgan, load_network
from reelmesh.node.stages.refine import fitted
from reelmesh.node.stages.tiles import TileWriter
from reelmesh.node.stages.upscale_tile import window
from reelmesh.scheduler.sizes import tile_box, timeline_size
from reelmesh.scheduler.stages import parse_params
from scripts.train_tiny_t2v.render import signed_distance

Image = NDArray[np.uint8]
SIDE, KEYS, TOTAL, SHOWN = 1080, 16, 31, (7, 14)
MOST_SEAM = 1.2
#: shape, radius, colour, background, motion
SCENES = (
    ("circle", 0.42, (230, 40, 35), (15, 20, 90), "left"),
    ("star", 0.42, (250, 220, 40), (250, 250, 250), "spin"),
    ("heart", 0.42, (160, 50, 220), (128, 128, 128), "grow"),
    ("ring", 0.27, (255, 140, 20), (20, 70, 35), "up"),
)


def drawn(scene: tuple[Any, ...], side: int, t: float) -> Image:
    """The scene at a time 0..1, as uint8 [side, side, 3]."""
    shape, radius, colour, ground, motion = scene
    cx = 0.55 - 1.1 * t if motion == "left" else 0.0
    cy = 0.55 - 1.1 * t if motion == "up" else 0.0
    r = radius * (0.6 + 0.8 * t if motion == "grow" else 1.0)
    turn = math.pi * t if motion == "spin" else 0.0
    axis = (torch.arange(side) + 0.5) / (side / 2) - 1
    y, x = torch.meshgrid((axis - cy) / r, (axis - cx) / r, indexing="ij")
    shade = 1 - 0.09 * (0.5 * (x + y)).clamp(-1, 1)[..., None]
    x, y = (
        x * math.cos(turn) + y * math.sin(turn),
        y * math.cos(turn) - x * math.sin(turn),
    )
    cover = (0.5 - signed_distance(shape, x, y) * r * side / 2).clamp(0, 1)[..., None]
    back = torch.tensor(ground) / 255
    lit = (torch.tensor(colour) / 255 * shade).clamp(0, 1)
    out: Image = ((back + cover * (lit - back)) * 255).round().to(torch.uint8).numpy()
    return out


def keys_of(scene: tuple[Any, ...]) -> Image:
    """The clip as a decoder gives it, with faint soft noise."""
    rng = np.random.default_rng(1)
    clip = np.stack([drawn(scene, 64, i / (KEYS - 1)) for i in range(KEYS)]).astype(np.float32)
    noise = [cv2.GaussianBlur(rng.normal(0, 3, (64, 64)), (0, 0), 1) for _ in clip]
    return np.clip(np.rint(clip + np.stack(noise)[..., None]), 0, 255).astype(np.uint8)


def timeline(keys: Image) -> list[Image]:
    """The frames SHOWN of a timeline over all keys."""
    frames = list(make_timeline(keys, SHOWN[0], SHOWN[-1] + 1, TOTAL))
    return [frames[i - SHOWN[0]] for i in SHOWN]


def refined(network: Faithful, keys: Image, side: int) -> tuple[list[Image], float]:
    """The stages' way, and the share of the last stage's dense work that it takes."""
    small, quarter = timeline_size(side, side)[0], -(-side // 4)
    plain = plain_colour(keys)
    first = Painter(network, Window((0, 0, 64, 64)), sparse=True)
    large = [fitted(first.paint(key)[0], small, small) for key in keys]
    frames = timeline(np.stack([p if plain is None else smoothed(p, plain) for p in large]))
    if small != quarter:
        again = Painter(network, Window((0, 0, small, small)), sparse=True)
        frames = [fitted(again.paint(frame)[0], quarter, quarter) for frame in frames]
    last = Painter(network, Window((0, 0, quarter, quarter)), sparse=True)
    out = [last.paint(frame)[0][:side, :side] for frame in frames]
    return out, last.share


def scores(made: list[Image], truth: list[Image]) -> list[float]:
    """[PSNR in dB, SSIM, sharpness over the truth's], means over the pictures."""
    rows = []
    for a, b in zip(made, truth, strict=True):
        error = float(np.mean((a.astype(np.float32) - b) ** 2))
        x, y = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (a, b))
        rows.append([10 * math.log10(255**2 / error), _ssim(x, y), _sharpness(x) / _sharpness(y)])
    return [round(float(v), 4) for v in np.mean(rows, axis=0)]


def _ssim(x: Any, y: Any) -> float:
    def mean(z: Any) -> Any:
        return cv2.GaussianBlur(z, (11, 11), 1.5)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    top = (2 * mx * my + 6.5) * (2 * both + 58.5)
    return float((top / ((mx * mx + my * my + 6.5) * (vx + vy + 58.5))).mean())


def _sharpness(x: Any) -> float:
    """How steep the steep places are: the gradient's mean, weighted by itself."""
    steep = np.hypot(cv2.Sobel(x, cv2.CV_32F, 1, 0), cv2.Sobel(x, cv2.CV_32F, 0, 1))
    return float((steep**2).sum() / steep.sum())


def seams(network: Faithful) -> dict[str, float]:
    """Two tiles of a textured picture, coded and joined, against the whole coded as one tile."""
    grain = np.random.default_rng(5).normal(0, 60, (128, 400, 3))
    soft = cv2.GaussianBlur(grain, (0, 0), 2) * 4 + np.linspace(60, 190, 400)[None, :, None]
    small = np.clip(soft, 0, 255).astype(np.uint8)
    shown = {}
    with tempfile.TemporaryDirectory() as folder:
        for columns in (1, 2):
            grid = {"width": 1600, "height": 512, "columns": columns, "rows": 1}
            inputs = {}
            for tile in range(columns):
                asked = {**grid, "start": 0, "stop": 1, "tile": tile, "sparse": True}
                where = window(parse_params("upscale_tile", asked))
                picture = Painter(network, where, sparse=True).paint(small)[0]
                left, top, right, bottom = tile_box(1600, 512, columns, 1, tile)
                inputs[f"tile-{tile}"] = path = Path(folder) / f"{columns}-{tile}.mkv"
                with TileWriter(path, right - left, bottom - top) as writer:
                    writer.write(picture)
            (planes,) = joined(SimpleNamespace(**grid, frames=1), inputs)
            shown[columns] = planes[:512].astype(np.float32)
    steps = np.abs(np.diff(shown[2], axis=1)).mean(axis=0)
    elsewhere = np.median([steps[x - 1] for x in range(16, 1600, 16) if x != 800])
    return {
        "mean_difference": round(float(np.abs(shown[1] - shown[2]).mean()), 4),
        "largest_difference": float(np.abs(shown[1] - shown[2]).max()),
        "gradient_ratio": round(float(steps[799] / elsewhere), 4),
    }


def measure(side: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(1)
    network: RealEsrgan = load_network(torch.device("cpu"), arithmetic(torch.device("cpu")))
    faithful = Faithful(network)
    rows = {}
    for scene in SCENES:
        keys = keys_of(scene)
        truth = [drawn(scene, side, i / (TOTAL - 1)) for i in SHOWN]
        plain = [
            enlarge(network, torch.from_numpy(frame[None]), side, side)[0].numpy()
            for frame in timeline(keys)
        ]
        made, share = refined(faithful, keys, side)
        rows[f"{scene[0]} {scene[4]}"] = {
            "enlarged": scores(plain, truth),
            "refined": scores(made, truth),
            "computed_share": round(share, 3),
        }
    mean = {
        way: np.mean([row[way] for row in rows.values()], axis=0).round(4).tolist()
        for way in ("enlarged", "refined", "computed_share")
    }
    return {
        "side": side,
        "columns": ["psnr_db", "ssim", "sharpness"],
        "scenes": rows,
        "mean": mean,
        "seam": seams(faithful),
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of the square video")
    arguments = parser.parse_args()
    found = measure(arguments.side)
    ways = (found["mean"]["enlarged"], found["mean"]["refined"])
    better = all(after > before for before, after in zip(*ways, strict=True))
    passed = better and found["seam"]["gradient_ratio"] <= MOST_SEAM
    print(json.dumps({**found, "passed": passed}, indent=None if arguments.json else 1))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
