"""A picture becomes a video: every stage of the plan, in one process."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reelmesh.node.stages.anchor import Anchor, psnr, shrink
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.frames import read_frames
from reelmesh.node.stages.local import run_plan_locally
from reelmesh.node.stages.media import MAX_FRAMES, MediaLimits
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.sources import Picture
from reelmesh.scheduler.spec import ImageToVideo
from reelmesh.scheduler.stages import entry, parse_params
from reelmesh.scheduler.stages.entry import BYTES_SLACK
from reelmesh.scheduler.templates import make_plan

LIMITS = MediaLimits(MAX_FRAMES)


def ball() -> NDArray[np.uint8]:
    picture = np.full((240, 384, 3), (20, 30, 110), np.uint8)
    cv2.circle(picture, (230, 120), 40, (225, 40, 35), -1, cv2.LINE_AA)
    return picture


def photograph() -> NDArray[np.uint8]:
    noise = np.random.default_rng(4).normal(0, 60, (240, 384, 3))
    hills = cv2.GaussianBlur(noise, (0, 0), 5) * 9 + np.linspace(60, 190, 240)[:, None, None]
    return np.clip(hills + noise / 4, 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def timeline_plan(image: Picture, prompt: str) -> Plan:
    """All up to the windows; upscaling is the same as for text."""
    spec = ImageToVideo(
        prompt=prompt, seconds=5.0, width=512, height=320, steps=8, image=image, seed=3
    )
    whole = make_plan(spec)
    last = max(i for i, task in enumerate(whole.subtasks) if task.stage == "anchor")
    return Plan(spec_hash=whole.spec_hash, subtasks=whole.subtasks[: last + 1])


@pytest.fixture(scope="module", params=["ball", "photograph"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Plan, NDArray[np.uint8]]:
    picture = ball() if request.param == "ball" else photograph()
    folder = tmp_path_factory.mktemp(request.param)
    file = folder / "picture"
    file.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    image = Picture.model_validate({"sha256": digest, "size": file.stat().st_size})
    plan = timeline_plan(image, "it moves left")
    run_plan_locally(plan, folder, sources={digest: file})
    return request.param, folder, plan, picture


def windows(folder: Path, plan: Plan) -> list[NDArray[np.uint8]]:
    names = [task.id for task in plan.subtasks if task.id.startswith("anchor-")]
    return [read_frames(folder / name / "frames.mkv", LIMITS) for name in names]


def test_the_first_frame_is_the_picture(
    made: tuple[str, Path, Plan, NDArray[np.uint8]],
) -> None:
    _, folder, plan, picture = made
    first = windows(folder, plan)[0][0]
    assert first.shape == (160, 256, 3)
    wanted = cv2.resize(picture, (256, 160), interpolation=cv2.INTER_AREA)
    assert psnr(shrink(first, 64), shrink(wanted, 64)) >= 25


def test_windows_are_parts_of_one_timeline_without_seams(
    made: tuple[str, Path, Plan, NDArray[np.uint8]], tmp_path: Path
) -> None:
    _, folder, plan, _ = made
    parts = windows(folder, plan)
    # What two windows could both make is the same to the bit, so that a seam is no seam.
    inputs = {ref.name: folder / ref.subtask / "frames.mkv" for ref in plan["anchor-0"].inputs}
    params = {**plan["anchor-0"].params, "start": 38, "stop": 42}
    across = Anchor().run(
        parse_params("anchor", params), inputs, StageContext(torch.device("cpu"), tmp_path)
    )
    between = read_frames(across["frames"], LIMITS)
    assert len(parts[0]) == 40
    assert np.array_equal(between, np.concatenate([parts[0][-2:], parts[1][:2]]))
    frames = np.concatenate(parts)
    steps = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    for seam in (39, 79):
        around = np.median(np.delete(steps[seam - 3 : seam + 4], 3))
        assert steps[seam] <= 1.5 * around


def test_it_moves_left(made: tuple[str, Path, Plan, NDArray[np.uint8]]) -> None:
    name, folder, plan, _ = made
    parts = windows(folder, plan)
    first, last = parts[0][0], parts[-1][-1]
    if name == "ball":
        xs = [np.argwhere((p[..., 0] > 150) & (p[..., 2] < 90)).mean(0)[1] for p in (first, last)]
        assert xs[1] < xs[0] - 40
    else:
        found = cv2.matchTemplate(parts[0][-1], first[60:100, 108:148], cv2.TM_SQDIFF)
        assert cv2.minMaxLoc(found)[2][0] < 108
        assert not np.array_equal(first, last)


def test_outputs_are_within_the_catalogues_limits(
    made: tuple[str, Path, Plan, NDArray[np.uint8]],
) -> None:
    _, folder, plan, _ = made
    for task in plan.subtasks:
        size = sum(p.stat().st_size for p in (folder / task.id).iterdir())
        assert size <= entry(task.stage).bytes_limit(task.parsed_params()), task.id


def test_inputs_are_no_larger_than_a_provider_takes(
    made: tuple[str, Path, Plan, NDArray[np.uint8]],
) -> None:
    _, folder, plan, _ = made
    for task in plan.subtasks:
        files = {folder / ref.subtask / f"{ref.output}.mkv" for ref in task.inputs}
        size = sum(path.stat().st_size for path in files if path.exists())
        assert size <= BYTES_SLACK * task.bytes_in, task.id
