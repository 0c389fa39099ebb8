"""Measures sound in sync: python scripts/eval_sound.py [--json] [--out DIR]

Two lists. "drawn": clips of known ways (bounces at many rates and phases, walls, collisions), drawn
here, whose hits are known by formula. "generated": held-out prompts through the shipped model; a
hit is a lowest place of the object in the frames as they are delivered, found here and by other
means than the stage has. Of each an MP4 is made by the real stages. Onsets are found in the sound
decoded from that MP4, by spectral flux; the list of events is never looked at. Printed: distances
between seen and heard, hits that were missed, onsets that nothing was seen for, loudness and peak,
and by how much the two streams differ in length. Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages import load_stage, tiny_t2v
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.frames import read_frames, write_frames
from reelmesh.node.stages.media import MAX_FRAMES, MediaLimits
from reelmesh.node.stages.synth.loudness import loudness
from reelmesh.node.stages.tiny_t2v.world import Scene, all_scenes
from reelmesh.node.stages.torch_setup import prepare_torch
from reelmesh.scheduler.stages import parse_params
from scripts.train_tiny_t2v.captions import canonical

FPS, KEYS, SIDE = 24, 16, 64
MEDIAN_MS, P95_MS = 41.7, 83.0
MOST_MISSED, MOST_FALSE = 0.05, 0.05  # of the hits; false onsets a clip
_MATCH_S = 0.25  # farther apart, what is heard is not what is seen
_EDGE_S = 0.09  # so near the clip's end a hit is neither wanted nor wrong
STYLES = ("natural", "wooden", "metallic", "cartoon", "soft")

Image = NDArray[np.uint8]
Ways = tuple[Callable[[float], tuple[float, float]], ...]


@dataclass(frozen=True)
class Case:
    """frames: uint8 [16, 64, 64, 3]. hits: seconds, or None where the frames have to tell."""

    name: str
    frames: Image
    seconds: float
    style: str
    hits: tuple[float, ...] | None


@dataclass(frozen=True)
class Made:
    """What was made of a case: the delivered frames, the sound and the lengths of the streams."""

    frames: Image
    sound: NDArray[np.float64]
    lengths: tuple[float, float]


def drawn() -> list[Case]:
    """Known ways: see the module's text."""
    rng, cases = random.Random(7), []
    for i in range(18):
        rate, phase = rng.uniform(0.8, 2.6), rng.random()
        times = [(n - phase) / rate for n in range(1, 5)]
        height = rng.uniform(0.25, 0.5)
        ways: Ways = (lambda t, r=rate, p=phase, h=height: (
            0.5, 0.8 - h * abs(math.sin(math.pi * (r * t + p)))),)  # fmt: skip
        cases.append(_drawn(f"bounce-{i}", ways, times, i))
    for i in range(6):
        speed, start = rng.uniform(0.9, 1.6), rng.uniform(0, 0.6)
        times = [(n - start) / speed for n in (1, 2)]
        cases.append(_drawn(f"walls-{i}", (_between(speed, start),), times, i))
    for i in range(6):
        at, speed = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.6)
        ways = tuple(
            lambda t, s=s, a=at, v=speed: (0.5 + s * (0.125 + v * abs(t - a)), 0.5) for s in (-1, 1)
        )
        cases.append(_drawn(f"collision-{i}", ways, [at], i))
    free: dict[str, Ways] = {
        "still": (lambda _: (0.5, 0.5),),
        "glide": (lambda t: (0.2 + 0.6 * t, 0.4),),
        "sway": (lambda t: (0.5 + 0.3 * math.cos(4 * math.pi * t), 0.5),),
        "circle": (lambda t: (0.5 + 0.25 * math.cos(6.3 * t), 0.5 + 0.25 * math.sin(6.3 * t)),),
        "toss": (lambda t: (0.2 + 0.6 * t, 0.8 - 2.2 * t * (1 - t)),),
        "two": (lambda t: (0.2 + 0.5 * t, 0.3), lambda t: (0.8 - 0.5 * t, 0.7)),
    }
    return cases + [_drawn(name, ways, [], i) for i, (name, ways) in enumerate(free.items())]


def _between(speed: float, start: float) -> Callable[[float], tuple[float, float]]:
    def way(t: float) -> tuple[float, float]:
        u = (speed * t + start) % 2
        return 0.2 + 0.6 * (u if u < 1 else 2 - u), 0.5

    return way


def _drawn(name: str, ways: Ways, times: list[float], number: int) -> Case:
    ys, xs = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE
    frames = np.empty((KEYS, SIDE, SIDE, 3), np.uint8)
    for k, frame in enumerate(frames):
        canvas = np.full((SIDE, SIDE, 3), (25.0, 30.0, 80.0))
        for way, colour in zip(ways, ((230, 60, 40), (240, 220, 60)), strict=False):
            x, y = way(k / (KEYS - 1))
            cover = np.clip((0.12 - np.hypot(xs - x, ys - y)) * SIDE + 0.5, 0, 1)[..., None]
            canvas = cover * colour + (1 - cover) * canvas
        frame[:] = np.rint(canvas)
    seconds = (3.0, 4.0, 5.0)[number % 3]
    span = seconds - 1 / FPS
    # The first and the last key frame have no frame beyond them to tell a hit by.
    inner = tuple(t * span for t in times if 1 / (KEYS - 1) < t < 1 - 1 / (KEYS - 1))
    return Case(name, frames, seconds, STYLES[number % 5], inner)


def generated(count: int) -> list[Case]:
    """Held-out prompts: half of them bounce, the rest have no hit in them."""
    model, scenes = tiny_t2v.load(), [scene for scene in all_scenes() if scene.held_out()]
    random.Random(2026).shuffle(scenes)
    some = [s for s in scenes if s.motion == "bounce"][: count // 2]
    quiet = {s.motion: s for s in scenes if s.motion != "bounce"}
    some += list(quiet.values())[: count - len(some)]
    return [_generated(model, scene, number) for number, scene in enumerate(some)]


def _generated(model: Any, scene: Scene, number: int) -> Case:
    prompt = canonical(scene)
    told = model.condition(tiny_t2v.text_features(prompt))
    frames = model.decode(model.denoise(model.init_latent(number), told)).numpy()
    seconds = (4.0, 3.0, 6.0)[number % 3]
    hits = None if scene.motion == "bounce" else ()
    return Case(prompt, frames, seconds, STYLES[number % 5], hits)


def make(case: Case, folder: Path) -> Made:
    """The MP4 of a case, small, by the real stages."""
    total = round(case.seconds * FPS)
    keys = write_frames(folder / "keys.mkv", case.frames)
    smooth = _run("interpolate", {"start": 0, "stop": total, "total": total}, folder, frames=keys)
    size = {"width": SIDE, "height": SIDE}
    coded = {"fps": FPS, "crf": 18, "frames": total, **size}
    segment = _run("encode_video", coded, folder, frames=smooth)
    silent = _run("assemble", {"fps": FPS, "segments": 1}, folder, **{"segment-0": segment})
    span = {"fps": FPS, "frames": len(case.frames), "total": total}
    events = _run("find_events", span, folder, frames=keys)
    asked = {"seconds": total / FPS, "style": case.style, "ambience": "room", "seed": 5}
    sound = _run("render_sound", asked, folder, events=events)
    both = {"fps": FPS, "frames": total, "video_bytes": 1 << 20}
    film = _run("mux", both, folder, video=silent, sound=sound)
    return Made(read_frames(smooth, MediaLimits(MAX_FRAMES)), *_heard(film))


def _run(name: str, params: dict[str, Any], folder: Path, **inputs: Path) -> Path:
    where = folder / name
    where.mkdir()
    context = StageContext(torch.device("cpu"), where)
    (path,) = load_stage(name).run(parse_params(name, params), inputs, context).values()
    return path


def _heard(film: Path) -> tuple[NDArray[np.float64], tuple[float, float]]:
    with av.open(str(film)) as file:
        lengths = tuple(float(s.duration * s.time_base) for s in file.streams)
        blocks = [frame.to_ndarray() for frame in file.decode(audio=0)]
    return np.concatenate(blocks, axis=1).astype(np.float64), (lengths[0], lengths[1])


def onsets(sound: NDArray[np.float64]) -> list[float]:
    """Seconds at which something sets in: peaks of spectral flux where the level jumps up."""
    mono, rate, size, hop = sound.mean(axis=0), 48_000, 512, 128
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mono, size // 2), size)[::hop]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(size)))[:, 1:]
    flux = np.maximum(np.diff(np.log1p(300 * spectrum), axis=0), 0).mean(axis=1)
    power = np.convolve(mono**2, np.ones(480) / 480, mode="same")[::hop] + 1e-9
    found: list[tuple[float, int]] = []
    for i in np.argsort(-flux):
        before, after = power[max(0, i - 6)], power[min(len(power) - 1, i + 5)]
        risen = after > 4 * before and after > 1e-4
        alone = all(abs(i - j) * hop / rate > 0.08 for _, j in found)
        if flux[i] > 4 * np.median(flux) + 0.02 and risen and alone:
            found.append((float(flux[i]), int(i)))
    return sorted((i + 1) * hop / rate for _, i in found)


def lowest_places(frames: Image) -> list[float]:
    """Seconds at which the one object is lower than before and after: read off the frames."""
    corner = frames[:, :3, :3].reshape(len(frames), -1, 3).mean(axis=1)
    apart = np.abs(frames.astype(float) - corner[:, None, None]).max(axis=3)
    rows = np.maximum(apart - 25, 0).sum(axis=2)
    y = (rows * np.arange(frames.shape[1])).sum(axis=1) / np.maximum(rows.sum(axis=1), 1)
    found = []
    for i in range(2, len(y) - 2):
        if y[i] != y[max(0, i - 4) : i + 5].max() or (found and i - found[-1] < 4):
            continue
        drop = min(y[i] - y[max(0, i - 12) : i].min(), y[i] - y[i : i + 13].min())
        if drop > 0.25 * np.ptp(y):
            found.append(i)
    times = []
    for i in found:
        bend = y[i - 1] - 2 * y[i] + y[i + 1]
        times.append((i + (0.5 * (y[i - 1] - y[i + 1]) / bend if bend < 0 else 0)) / FPS)
    return times


def compare(case: Case, made: Made) -> dict[str, Any]:
    """Distances in ms, misses and false onsets of one case."""
    seen = list(case.hits) if case.hits is not None else lowest_places(made.frames)
    seen = [t for t in seen if t < case.seconds - _EDGE_S]
    heard = onsets(made.sound)
    free, gaps = list(heard), []
    for time in seen:
        near = min(free, key=lambda t: abs(t - time), default=math.inf)
        if abs(near - time) <= _MATCH_S:
            gaps.append(abs(near - time) * 1000)
            free.remove(near)
    # A hit in the very first or last moments may be heard, though none was asked for.
    edge = 1.2 * case.seconds / (KEYS - 1)
    wrong = [t for t in free if edge < t < case.seconds - edge]
    return {
        "hits": len(seen),
        "distances_ms": [round(gap, 1) for gap in gaps],
        "missed": len(seen) - len(gaps),
        "false": len(wrong),
        "lufs": round(loudness(made.sound), 1),
        "peak": round(float(np.abs(made.sound).max()), 3),
        "streams_apart_ms": round(1000 * abs(made.lengths[0] - made.lengths[1]), 2),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a whole list."""
    gaps = [gap for row in rows for gap in row["distances_ms"]]
    hits = sum(row["hits"] for row in rows)
    loud = [row["lufs"] for row in rows if row["hits"]]
    return {
        "clips": len(rows),
        "hits": hits,
        "median_ms": round(float(np.median(gaps)), 1) if gaps else None,
        "p95_ms": round(float(np.percentile(gaps, 95)), 1) if gaps else None,
        "worst_ms": max(gaps, default=None),
        "missed": sum(row["missed"] for row in rows),
        "false_onsets": sum(row["false"] for row in rows),
        "lufs_with_hits": [min(loud), max(loud)] if loud else None,
        "peak": max(row["peak"] for row in rows),
        "streams_apart_ms": max(row["streams_apart_ms"] for row in rows),
    }


def picture(case: Case, made: Made) -> Image:
    """Frames over waveform over spectrogram, BGR: how a case is looked at."""
    at = np.linspace(0, len(made.frames) - 1, 12).astype(int)
    row = np.concatenate([cv2.resize(made.frames[i], (80, 80)) for i in at], axis=1)[:, :, ::-1]
    mono = made.sound.mean(axis=0)
    wave = np.full((70, row.shape[1], 3), 255, np.uint8)
    for x, part in enumerate(np.array_split(mono, row.shape[1])):
        top, bottom = (int(35 - 33 * v) for v in (part.max(), part.min()))
        cv2.line(wave, (x, top), (x, bottom), (120, 60, 0), 1)
    windows = np.lib.stride_tricks.sliding_window_view(mono, 1024)[::256]
    bins = np.abs(np.fft.rfft(windows * np.hanning(1024)))[:, :200]
    level = np.clip((20 * np.log10(bins.T[::-1] + 1e-6) + 70) / 100, 0, 1)
    shade = (cv2.resize(level, (row.shape[1], 110)) * 255).astype(np.uint8)
    shown = cv2.applyColorMap(shade, cv2.COLORMAP_MAGMA)
    label = f"{case.name} [{case.style}, {case.seconds:g} s]"
    cv2.putText(shown, label, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
    return np.concatenate([row, wave, shown])


def measure(cases: list[Case], out: Path | None) -> list[dict[str, Any]]:
    """Every case of a list; pictures of them where `out` is given."""
    rows = []
    for number, case in enumerate(cases):
        with tempfile.TemporaryDirectory() as folder:
            made = make(case, Path(folder))
        rows.append({"name": case.name, **compare(case, made)})
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(out / f"{number:02}-{case.name[:40]}.png"), picture(case, made))
    return rows


def good(told: dict[str, Any]) -> bool:
    """Whether a list meets the targets."""
    return bool(
        told["median_ms"] <= MEDIAN_MS
        and told["p95_ms"] <= P95_MS
        and told["missed"] <= MOST_MISSED * told["hits"]
        and told["false_onsets"] <= MOST_FALSE * told["clips"]
        and told["peak"] < 1
        and told["streams_apart_ms"] <= 1000 / FPS
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--prompts", type=int, default=24, help="held-out prompts, at most 28")
    parser.add_argument("--out", type=Path, help="write a picture of each clip's sound here")
    args = parser.parse_args()
    prepare_torch(1)
    rows = {
        "drawn": measure(drawn(), args.out and args.out / "drawn"),
        "generated": measure(generated(args.prompts), args.out and args.out / "generated"),
    }
    told = {name: summary(some) for name, some in rows.items()}
    if args.json:
        print(json.dumps({**told, "clips": rows}, indent=2))
    else:
        for name, one in told.items():
            print(f"{name:10} " + "  ".join(f"{key} {value}" for key, value in one.items()))
    return 0 if all(good(one) for one in told.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
