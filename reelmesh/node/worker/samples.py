"""Timing a stage on a small run of the size that jobs really have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelmesh.node.stages import StageFailed
from reelmesh.node.stages.production import ProductionStage
from reelmesh.scheduler.models import split_offering
from reelmesh.scheduler.stages import entry, parse_params

from .wire import Message

if TYPE_CHECKING:
    from .runner import Runner

_SIDE = 512
Sample = tuple[dict[str, Any], dict[str, Path]]  # parameters and inputs


def measure(runner: Runner, name: str, cancelled: Callable[[], bool]) -> Message:
    """Seconds per unit, the better of two runs with the model loaded, and the memory taken.

    The first run pays for what is only done once (choosing kernels, growing buffers). Time
    that went to other processes is not counted: see `WorkClock`.
    """
    stage = runner.load(name)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        kind, model = split_offering(name)
        if isinstance(stage, ProductionStage):
            params, inputs = stage.sample(Path(folder).resolve())
            params = {"model": model, **params}
        else:
            params, inputs = _SAMPLES[kind](runner, Path(folder).resolve())
        checked = parse_params(kind, params)
        request = {
            "stage": kind,
            "stage_version": stage.version,
            "params": checked.model_dump_json(),
            "inputs": inputs,
        }
        took, peak = [], 0
        for number in range(2):
            workdir = Path(folder).resolve() / str(number)
            workdir.mkdir()
            done = runner.run(request | {"workdir": str(workdir)}, None, cancelled)
            took.append(float(done["run_s"]))
            peak = max(peak, int(done["peak_memory_mb"]))
    return {
        "type": "done",
        "seconds_per_unit": min(took) / entry(kind).units(checked),
        "memory_mb": peak,
        "stage_version": stage.version,
        "model_hash": stage.model_hash.hex(),
    }


def _encode_text(_: Runner, __: Path) -> Sample:
    return {"prompt": "a big red ball bouncing over a white background"}, {}


def _skeleton(_: Runner, folder: Path) -> Sample:
    import torch

    from reelmesh.node.stages.tensors import write_tensors

    features = torch.randn(12, 384, generator=torch.Generator().manual_seed(1))
    path = write_tensors(folder / "features.safetensors", {"features": features})
    params = {"seed": 1, "start": 0, "stop": 4, "steps": 20, "guidance": 3.0}
    return params, {"features": path}


def _decode(runner: Runner, folder: Path) -> Sample:
    import torch

    from reelmesh.node.stages.decode import Decode
    from reelmesh.node.stages.tensors import write_tensors

    stage = runner.load("decode")
    if not isinstance(stage, Decode):
        raise StageFailed("internal", "the stage decode is not the one that is measured")
    latent = torch.randn(stage.model.latent_shape, generator=torch.Generator().manual_seed(1))
    path = write_tensors(folder / "latent.safetensors", {"latent": latent})
    return {"frames": stage.model.frames}, {"latent": path}


def _interpolate(_: Runner, folder: Path) -> Sample:
    path = _disc(folder, frames=16, side=64)
    return {"start": 0, "stop": 24, "total": 96}, {"frames": path}


def _upscale(_: Runner, folder: Path) -> Sample:
    path = _disc(folder, frames=4, side=64)
    return {"start": 0, "stop": 4, "width": _SIDE, "height": _SIDE}, {"frames": path}


def _encode_video(_: Runner, folder: Path) -> Sample:
    path = _disc(folder, frames=8, side=_SIDE)
    return {"fps": 24, "crf": 18, "frames": 8, "width": _SIDE, "height": _SIDE}, {"frames": path}


def _segment(runner: Runner, folder: Path) -> Path:
    params, inputs = _encode_video(runner, folder)
    request = {
        "stage": "encode_video",
        "stage_version": entry("encode_video").version,
        "params": parse_params("encode_video", params).model_dump_json(),
        "inputs": inputs,
        "workdir": str(folder),
    }
    return Path(runner.run(request, None, None)["outputs"]["segment"])


def _assemble(runner: Runner, folder: Path) -> Sample:
    segment = _segment(runner, folder)
    return {"fps": 24, "segments": 4}, {f"segment-{i}": segment for i in range(4)}


def _disc(folder: Path, frames: int, side: int) -> Path:
    """A shaded disc on its way over a plain background, as "frames"."""
    import numpy as np

    from reelmesh.node.stages.frames import write_frames

    ys, xs = np.mgrid[0:side, 0:side] / side
    clip = np.empty((frames, side, side, 3), np.uint8)
    for i in range(frames):
        x, y = 0.25 + 0.5 * i / frames, 0.5
        cover = np.clip((0.2 - np.hypot(xs - x, ys - y)) * side, 0, 1)[..., None]
        shade = (0.8 + 0.2 * ys)[..., None]
        picture = cover * shade * (230, 60, 40) + (1 - cover) * (30, 40, 90)
        clip[i] = np.rint(picture)
    return write_frames(folder / f"disc-{side}.mkv", clip)


def _encode_image(_: Runner, folder: Path) -> Sample:
    import cv2
    import numpy as np

    steep = np.linspace(0, 255, 2048, dtype=np.uint8)
    picture = np.dstack([np.add.outer(steep, steep), np.add.outer(steep, 3 * steep)] * 2)[..., :3]
    path = folder / "picture.png"
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return {"width": _SIDE, "height": _SIDE}, {"image": path}


def _animate(runner: Runner, folder: Path) -> Sample:
    params, inputs = _skeleton(runner, folder)
    return params, inputs | {"frames": _disc(folder, frames=1, side=256)}


def _anchor(_: Runner, folder: Path) -> Sample:
    inputs = {
        "clip-0": _disc(folder, frames=16, side=64),
        "picture": _disc(folder, frames=1, side=256),
    }
    timeline = {"start": 0, "stop": 12, "total": 48, "fps": 24, "clips": 1}
    return {**timeline, "width": _SIDE, "height": _SIDE}, inputs


def _preview(_: Runner, folder: Path) -> Sample:
    frames = _disc(folder, frames=16, side=64)
    return {"seconds": 4.0, "width": 384, "height": 384}, {"frames": frames}


def _repair(runner: Runner, folder: Path) -> Sample:
    _, features = _skeleton(runner, folder)
    _, latent = _decode(runner, folder)
    params = {"seed": 1, "steps": 4, "guidance": 3.0, "first": 2, "end": 4}
    return params, features | latent


def _decode_video(runner: Runner, folder: Path) -> Sample:
    wanted = {"start": 0.0, "frames": 8, "fps": 24, "width": _SIDE, "height": _SIDE}
    return wanted, {"video": _segment(runner, folder)}


def _find_events(_: Runner, folder: Path) -> Sample:
    return {"fps": 24, "frames": 16, "total": 96}, {"frames": _disc(folder, frames=16, side=64)}


def _render_sound(_: Runner, folder: Path) -> Sample:
    from reelmesh.node.stages.events import Events, Motion, SoundEvent, write_events

    hits = tuple(
        SoundEvent(time=0.4 + i, kind="impact", strength=0.5, x=0.3, y=0.7, size=0.2)
        for i in range(2)
    )
    way = Motion(size=0.2, x=(0.2, 0.8), speed=(0.3, 0.3))
    path = folder / "events.json"
    write_events(path, Events(seconds=2.0, events=hits, paths=(way,)))
    params = {"seconds": 2.0, "style": "natural", "ambience": "room", "seed": 1}
    return params, {"events": path}


def _speech(_: Runner, __: Path) -> Sample:
    return {"text": "Hello there, I am a red ball.", "style": "natural", "seconds": 4.0}, {}


def _mux(runner: Runner, folder: Path) -> Sample:
    import numpy as np

    from reelmesh.node.stages.sounds import write_sound

    params, inputs = _assemble(runner, folder)
    request = {
        "stage": "assemble",
        "stage_version": entry("assemble").version,
        "params": parse_params("assemble", params).model_dump_json(),
        "inputs": inputs,
        "workdir": str(folder),
    }
    video = Path(runner.run(request, None, None)["outputs"]["video"])
    hum = 8000 * np.sin(np.arange(64_000) / 40)
    sound = write_sound(folder / "sound.flac", np.stack([hum, hum]).astype(np.int16))
    return {"fps": 24, "frames": 32, "video_bytes": 4 << 20}, {"video": video, "sound": sound}


def _refine(_: Runner, folder: Path) -> Sample:
    path = _disc(folder, frames=2, side=64)
    params = {"start": 0, "stop": 2, "from_width": 64, "from_height": 64}
    return {**params, "width": 160, "height": 90}, {"frames": path}


def _upscale_tile(_: Runner, folder: Path) -> Sample:
    """Two unlike frames that are nowhere flat: the dearest case, so that no bid is too low."""
    import numpy as np

    from reelmesh.node.stages.frames import write_frames

    noise = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    grid = {"width": 256, "height": 256, "columns": 1, "rows": 1, "tile": 0}
    params = {**grid, "start": 0, "stop": 2, "sparse": True}
    return params, {"frames": write_frames(folder / "noise.mkv", noise)}


def _join_tiles(_: Runner, folder: Path) -> Sample:
    import numpy as np

    from reelmesh.node.stages.tiles import TileWriter

    path = folder / "tile.mkv"
    steep = np.add.outer(np.arange(_SIDE), np.arange(_SIDE)) // 5
    with TileWriter(path, _SIDE, _SIDE) as writer:
        for i in range(8):
            writer.write(np.dstack([steep, steep[::-1], steep + i]).astype(np.uint8))
    grid = {"width": _SIDE, "height": _SIDE, "columns": 1, "rows": 1}
    return {**grid, "fps": 24, "crf": 18, "frames": 8}, {"tile-0": path}


def _carry_on(_: Runner, folder: Path) -> Sample:
    wanted = {"fps": 24, "seen": 4, "frames": 2, "width": 256, "height": 256}
    return wanted, {"frames": _disc(folder, frames=4, side=256)}


def _restyle(_: Runner, folder: Path) -> Sample:
    wanted = {"style": "cartoon", "lead": 0, "frames": 2, "width": 256, "height": 256}
    return wanted, {"frames": _disc(folder, frames=2, side=256)}


def _run_of_frames(folder: Path, frames: int, side: int) -> Sample:
    size = {"start": 0, "stop": frames, "width": side, "height": side}
    return size, {"frames": _disc(folder, frames, side)}


def _footage_with_depth(folder: Path, frames: int, side: int) -> Sample:
    import numpy as np

    from reelmesh.node.stages.fourd.depth_video import write_depth

    params, inputs = _run_of_frames(folder, frames, side)
    slope = np.linspace(0, 0.5, side, dtype=np.float32)
    plane = np.add.outer(slope, slope) / 2
    plane[side // 4 : side // 2, side // 4 : side // 2] = 1
    depth = write_depth(folder / "depth.mkv", np.repeat(plane[None], frames, axis=0))
    return params, inputs | {"depth": depth}


def _depth(_: Runner, folder: Path) -> Sample:
    return _run_of_frames(folder, frames=2, side=_SIDE // 2)


def _steady_depth(_: Runner, folder: Path) -> Sample:
    params, inputs = _footage_with_depth(folder, frames=4, side=_SIDE // 2)
    return params | {"runs": 1}, {"frames": inputs["frames"], "depth-0": inputs["depth"]}


def _warp(_: Runner, folder: Path) -> Sample:
    params, inputs = _footage_with_depth(folder, frames=1, side=_SIDE // 2)
    return params | {"poses": [[0.2, 0.0, 0.02, 0.0, 0.0, 1.0, 44.0]]}, inputs


def _refine_views(runner: Runner, folder: Path) -> Sample:
    params, inputs = _warp(runner, folder)
    request = {
        "stage": "warp",
        "stage_version": entry("warp").version,
        "params": parse_params("warp", params).model_dump_json(),
        "inputs": inputs,
        "workdir": str(folder),
    }
    views = Path(runner.run(request, None, None)["outputs"]["views"])
    return params | {"before": False, "after": False}, inputs | {"views": views}


def _retime_views(_: Runner, folder: Path) -> Sample:
    params, inputs = _run_of_frames(folder, frames=2, side=_SIDE // 2)
    return params | {"times": 2, "out": 3, "after": False}, inputs


def _view_layers(_: Runner, folder: Path) -> Sample:
    return _footage_with_depth(folder, frames=1, side=_SIDE // 2)


def _pack_4d(runner: Runner, folder: Path) -> Sample:
    params, inputs = _encode_video(runner, folder)
    request = {
        "stage": "encode_video",
        "stage_version": entry("encode_video").version,
        "params": parse_params("encode_video", params).model_dump_json(),
        "inputs": inputs,
        "workdir": str(folder),
    }
    film = Path(runner.run(request, None, None)["outputs"]["segment"])
    return {"seconds": 1}, {"video": film, "layers": film}


_SAMPLES: dict[str, Callable[[Runner, Path], Sample]] = {
    "encode_text": _encode_text,
    "skeleton": _skeleton,
    "decode": _decode,
    "interpolate": _interpolate,
    "upscale": _upscale,
    "encode_video": _encode_video,
    "assemble": _assemble,
    "encode_image": _encode_image,
    "animate": _animate,
    "anchor": _anchor,
    "preview": _preview,
    "repair": _repair,
    "decode_video": _decode_video,
    "carry_on": _carry_on,
    "restyle": _restyle,
    "find_events": _find_events,
    "render_sound": _render_sound,
    "speech": _speech,
    "mux": _mux,
    "refine": _refine,
    "upscale_tile": _upscale_tile,
    "join_tiles": _join_tiles,
    "depth": _depth,
    "steady_depth": _steady_depth,
    "warp": _warp,
    "refine_views": _refine_views,
    "retime_views": _retime_views,
    "view_layers": _view_layers,
    "pack_4d": _pack_4d,
}
