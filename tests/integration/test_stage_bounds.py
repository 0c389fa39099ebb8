"""What honest work may weigh at its worst, and what a lying upstream may make it hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from reelmesh.node.stages import StageFailed, load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.developing import Developer
from reelmesh.node.stages.frames import write_frames
from reelmesh.scheduler.stages import entry, parse_params

SIZE = {"width": 512, "height": 512}
TILE = {**SIZE, "columns": 1, "rows": 1, "tile": 0, "sparse": True, "start": 0, "stop": 2}
REFINED = {"start": 0, "stop": 3, "from_width": 128, "from_height": 128, **SIZE}


def ran(folder: Path, stage: str, params: dict[str, Any], pictures: Any) -> tuple[int, int]:
    """Bytes that came out, and the most that a receiver takes."""
    source = write_frames(folder / "in.mkv", pictures)
    wanted, loaded = parse_params(stage, params), load_stage(stage)
    loaded.load(torch.device("cpu"))
    (folder / "out").mkdir()
    context = StageContext(torch.device("cpu"), folder / "out")
    made = loaded.run(wanted, {"frames": source}, context)
    return sum(path.stat().st_size for path in made.values()), entry(stage).bytes_limit(wanted)


@pytest.mark.parametrize(
    ("stage", "params", "side", "count"),
    [
        ("upscale", {**SIZE, "start": 0, "stop": 3}, 128, 3),
        ("upscale", {**SIZE, "start": 0, "stop": 3, "sparse": True}, 128, 3),
        ("upscale_tile", TILE, 128, 2),
        ("refine", REFINED, 128, 3),
        ("encode_video", {**SIZE, "fps": 24, "crf": 18, "frames": 3}, 512, 3),
        ("restyle", {**SIZE, "style": "night", "lead": 0, "frames": 3}, 512, 3),
    ],
)
def test_noise_is_not_too_much(
    tmp_path: Path, stage: str, params: dict[str, Any], side: int, count: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (count, side, side, 3), dtype=np.uint8) * 255
    made, most = ran(tmp_path, stage, params, noise)
    # Without the MiB that small ones have besides.
    assert made < most - (1 << 20)


@pytest.mark.parametrize(
    ("stage", "params"),
    [
        ("interpolate", {"start": 0, "stop": 2, "total": 4}),
        ("find_events", {"fps": 24, "frames": 4, "total": 96}),
    ],
)
def test_pictures_that_nobody_asked_to_be_large_are_refused_unread(
    tmp_path: Path, stage: str, params: dict[str, Any]
) -> None:
    large = np.zeros((4, 1024, 1024, 3), np.uint8)
    with pytest.raises(StageFailed, match="1024x1024") as failed:
        ran(tmp_path, stage, params, large)
    assert failed.value.reason == "bad_input"


def test_a_shape_that_takes_more_memory_than_was_said_is_refused_before_it_does() -> None:
    """Pixels fifteen times as wide as high, as a small file may claim: in HDR more than 1.5 GiB."""
    frame = av.VideoFrame(1920, 1080, "yuv420p")
    with pytest.raises(StageFailed, match="shape is too far"):
        Developer(1024, 1024, "cover", 15.0).picture(frame)
