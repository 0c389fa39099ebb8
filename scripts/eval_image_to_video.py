"""Measures image→video: python scripts/eval_image_to_video.py [--json] [--out DIR]

Pictures of shapes are drawn with OpenCV, not with the model's own renderer, in colours that it was
not taught; a made-up photograph (textured, noisy) stands for what is beyond its world. Of each a
10 s video of 240 frames is planned and run up to its timeline, in the plan's own windows. Printed:
PSNR of the first frame at 64x64, and the frame difference at each seam between windows over the
median of the six around it, at its worst; for some pictures also at one seam of the finished
video, enlarged and after H.264. Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages.anchor import CLIP_SIZE, psnr, shrink
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.encode_image import fit
from reelmesh.node.stages.encode_video import EncodeVideo
from reelmesh.node.stages.frames import read_frames, write_frames
from reelmesh.node.stages.local import run_plan_locally
from reelmesh.node.stages.media import MAX_FRAMES, MediaLimits
from reelmesh.node.stages.track import follow
from reelmesh.node.stages.upscale import Upscale
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.sources import Picture
from reelmesh.scheduler.spec import ImageToVideo
from reelmesh.scheduler.stages import parse_params
from reelmesh.scheduler.templates import make_plan
from reelmesh.scheduler.templates.image_to_video import CHUNK_FRAMES, CRF

SIDE = 480
LEAST_PSNR_DB = 25.0
MOST_SEAM = 1.5
_AROUND = 3
CODED = ("circle-left", "photo-right", "balloon-left")  # enlarging takes most of the time

Image = NDArray[np.uint8]


def _canvas(colour: tuple[int, int, int]) -> Image:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def _drawn(canvas: Image, shape: str, colour: tuple[int, int, int], size: int) -> Image:
    middle = SIDE // 2
    if shape == "circle":
        cv2.circle(canvas, (middle, middle), size, colour, -1, cv2.LINE_AA)
    elif shape == "ring":
        cv2.circle(canvas, (middle, middle), size, colour, size // 2, cv2.LINE_AA)
    else:
        count = {"triangle": 3, "square": 4, "star": 10}[shape]
        angles = np.arange(count) * 2 * np.pi / count - np.pi / 2
        reach = size * np.where((np.arange(count) % 2 == 1) & (count == 10), 0.45, 1.0)
        points = np.stack([middle + reach * np.cos(angles), middle + reach * np.sin(angles)], 1)
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], colour, cv2.LINE_AA)
    return canvas


def _photograph() -> Image:
    """Hills under a sky, with grain: nothing that the model was ever shown."""
    rng = np.random.default_rng(5)
    xs = np.arange(SIDE)
    picture = np.linspace((120, 170, 235), (235, 215, 190), SIDE)[:, None].repeat(SIDE, 1)
    for depth in range(4):
        waves = sum(np.sin(xs / w + rng.uniform(0, 6)) * w / 4 for w in (17, 41, 90))
        line = SIDE * (0.45 + 0.13 * depth) + waves
        ground = np.array((60, 110, 60)) * (1.2 - 0.25 * depth)
        picture = np.where(np.arange(SIDE)[:, None, None] > line[None, :, None], ground, picture)
    grain = cv2.GaussianBlur(rng.normal(0, 60, picture.shape), (0, 0), 1.5)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _balloon() -> Image:
    """A striped balloon before the hills: a figure that is not on a plain background."""
    picture = _photograph()
    middle = (SIDE // 2, SIDE * 2 // 5)
    cv2.ellipse(picture, middle, (70, 85), 0, 0, 360, (210, 50, 60), -1, cv2.LINE_AA)
    cv2.ellipse(picture, middle, (30, 85), 0, 0, 360, (240, 200, 60), -1, cv2.LINE_AA)
    basket = (middle[0] - 18, middle[1] + 92), (middle[0] + 18, middle[1] + 118)
    cv2.rectangle(picture, *basket, (150, 60, 40), -1)
    cv2.line(picture, (middle[0], middle[1] + 80), (middle[0], middle[1] + 95), (150, 60, 40), 9)
    return picture


def cases() -> dict[str, tuple[Image, str]]:
    """Name → picture (uint8 RGB) and prompt."""
    blue, cream, night = (20, 30, 110), (250, 245, 235), (12, 12, 20)
    return {
        "circle-left": (_drawn(_canvas(blue), "circle", (225, 40, 35), 90), "it moves left"),
        "star-up": (
            _drawn(_canvas(night), "star", (250, 215, 40), 100),
            "a yellow star moving up over a black background",
        ),
        "square-spin": (
            _drawn(_canvas(cream), "square", (40, 160, 70), 110),
            "a green square spinning over a white background",
        ),
        "ring-sway": (
            _drawn(_canvas((130, 130, 135)), "ring", (240, 140, 30), 80),
            "an orange ring swaying over a gray background",
        ),
        "triangle-grow": (
            _drawn(_canvas((60, 20, 95)), "triangle", (60, 200, 210), 70),
            "a small cyan triangle growing over a purple background",
        ),
        "ball-bounce": (_drawn(_canvas(cream), "circle", (40, 90, 200), 70), "a ball bouncing"),
        "photo-right": (_photograph(), "moving right"),
        "photo-sway": (_photograph(), "swaying"),
        "balloon-left": (_balloon(), "it moves left"),
    }


def timeline_of(picture: Image, prompt: str, folder: Path) -> tuple[NDArray[np.uint8], list[int]]:
    """All 240 frames before upscaling, and the numbers of the first frames of windows."""
    file = folder / "picture.png"
    file.write_bytes(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    image = Picture.model_validate({"sha256": digest, "size": file.stat().st_size})
    whole = make_plan(ImageToVideo(prompt=prompt, seconds=10.0, image=image, seed=3))
    names = [task.id for task in whole.subtasks if task.id.startswith("anchor-")]
    upto = 1 + max(i for i, task in enumerate(whole.subtasks) if task.id in names)
    plan = Plan(spec_hash=whole.spec_hash, subtasks=whole.subtasks[:upto])
    run_plan_locally(plan, folder, sources={digest: file})
    windows = [read_frames(folder / name / "frames.mkv", MediaLimits(MAX_FRAMES)) for name in names]
    starts = np.cumsum([len(window) for window in windows])[:-1]
    return np.concatenate(windows), [int(at) for at in starts]


def coded_seam(frames: NDArray[np.uint8], seam: int) -> float:
    """The ratio at one seam in the finished video: enlarged, and a segment either side of it."""
    near = frames[seam - CHUNK_FRAMES : seam + CHUNK_FRAMES // 2]
    upscale, encode, parts = Upscale(), EncodeVideo(), []
    upscale.load(torch.device("cpu"))
    size = {"width": 512, "height": 512}
    for start, stop in ((0, CHUNK_FRAMES), (CHUNK_FRAMES, len(near))):
        with tempfile.TemporaryDirectory() as folder:
            context = StageContext(torch.device("cpu"), Path(folder))
            given = {"frames": write_frames(Path(folder) / "small.mkv", near[start:stop])}
            wanted = {"start": 0, "stop": stop - start, **size}
            given = upscale.run(parse_params("upscale", wanted), given, context)
            wanted = {"fps": 24, "crf": CRF, "frames": stop - start, **size}
            out = encode.run(parse_params("encode_video", wanted), given, context)
            with av.open(str(out["segment"])) as media:
                parts += [frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)]
    return worst_seam(np.stack(parts), [CHUNK_FRAMES])


def worst_seam(frames: NDArray[np.uint8], seams: list[int]) -> float:
    """The largest difference at a seam over the median of those around it."""
    steps = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    ratios = []
    for at in seams:
        here = at - 1
        near = range(max(0, here - _AROUND), min(len(steps), here + _AROUND + 1))
        around = [i for i in near if i != here]
        ratios.append(float(steps[here]) / max(float(np.median(steps[around])), 0.01))
    return max(ratios)


def measure(name: str, picture: Image, prompt: str, out: Path | None) -> dict[str, Any]:
    """One video: see the module's text."""
    with tempfile.TemporaryDirectory() as folder:
        frames, seams = timeline_of(picture, prompt, Path(folder))
    wanted = shrink(fit(picture, 512, 512), CLIP_SIZE)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        shown = [*frames[::24], frames[-1]]
        row = np.concatenate([shrink(frame, 128) for frame in shown], 1)
        cv2.imwrite(str(out / f"{name}.png"), row[:, :, ::-1])
    return {
        "frames": len(frames),
        "windows": len(seams) + 1,
        "side": int(frames.shape[1]),
        "first_frame_psnr_db": round(psnr(shrink(frames[0], CLIP_SIZE), wanted), 1),
        "seam_ratio": round(worst_seam(frames, seams), 3),
        "coded_seam_ratio": round(coded_seam(frames, seams[1]), 3) if name in CODED else None,
        "moved": _moved(frames[0], frames[-1]),
    }


def _moved(first: Image, last: Image) -> list[float] | None:
    """How far the one object went, (x, y) in hundredths of the side; None where there is none."""
    track = follow([first.astype(np.float32), last.astype(np.float32)])
    if track is None:
        return None
    return [round(float(d) * 100 / len(first), 1) for d in track.centre[1] - track.centre[0]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="write a strip of frames of each video here")
    args = parser.parse_args()
    told = {name: measure(name, *case, args.out) for name, case in cases().items()}
    if args.json:
        print(json.dumps(told, indent=2))
    else:
        for name, one in told.items():
            print(f"{name:14} " + "  ".join(f"{key} {value}" for key, value in one.items()))
    good = all(
        one["first_frame_psnr_db"] >= LEAST_PSNR_DB
        and max(one["seam_ratio"], one["coded_seam_ratio"] or 0) <= MOST_SEAM
        for one in told.values()
    )
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
