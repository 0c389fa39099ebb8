"""A prompt becomes a video: every stage of a plan, in one process."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reelmesh.node.stages import StageFailed, load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.frames import read_frames
from reelmesh.node.stages.local import run_plan_locally
from reelmesh.node.stages.media import MediaLimits
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.stages import entry
from reelmesh.scheduler.templates.text_to_video import plan

PROMPT = "a big red square moving right over a black background"


def small_plan(width: int = 256, prompt: str = PROMPT) -> Plan:
    spec = {
        "prompt": prompt, "seconds": 1, "fps": 24, "width": width, "height": 256, "steps": 20,
        "seed": 5,
    }  # fmt: skip
    return plan(parse_spec(spec), chunk_frames=12)


def pictures(video: Path) -> NDArray[np.uint8]:
    with av.open(str(video)) as media:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)])


def red_centre(picture: NDArray[np.uint8]) -> tuple[float, float]:
    """Where the red things are, as shares of width and height."""
    red = np.clip(picture[..., 0].astype(float) - picture[..., 2] - 60, 0, None)
    ys, xs = np.mgrid[0 : red.shape[0], 0 : red.shape[1]]
    assert red.sum() > 0, "nothing in the picture is red"
    total = red.sum()
    return float((red * xs).sum() / total / red.shape[1]), float(
        (red * ys).sum() / total / red.shape[0]
    )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """The working folder, the video and the subtasks that reported their end."""
    folder = tmp_path_factory.mktemp("chain")
    ended: list[str] = []

    def on_progress(subtask: str, fraction: float, note: str) -> None:
        assert 0 <= fraction <= 1
        assert len(note) <= 80
        if fraction == 1 and subtask not in ended:
            ended.append(subtask)

    return folder, run_plan_locally(small_plan(), folder, on_progress=on_progress), ended


def test_the_video_shows_what_was_asked_for(chain: tuple[Path, Path, list[str]]) -> None:
    shown = pictures(chain[1])
    assert shown.shape == (24, 256, 256, 3)
    assert np.median(shown) < 40  # the background is black
    xs = [red_centre(picture)[0] for picture in shown]
    assert xs[-1] - xs[0] > 0.2  # it moves right
    assert max(np.diff(xs)) < 0.1  # and never jumps


def test_every_subtask_reports_its_end(chain: tuple[Path, Path, list[str]]) -> None:
    assert chain[2] == [subtask.id for subtask in small_plan().subtasks]


def test_outputs_are_the_catalogue_s_and_within_its_limits(
    chain: tuple[Path, Path, list[str]],
) -> None:
    for subtask in small_plan().subtasks:
        stage = entry(subtask.stage)
        files = list((chain[0] / subtask.id).iterdir())
        assert [path.stem for path in files] == list(stage.outputs)
        size = sum(path.stat().st_size for path in files)
        assert size <= stage.bytes_limit(subtask.parsed_params()), subtask.id


def test_a_second_run_gives_the_same_bytes(
    chain: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    again = run_plan_locally(small_plan(), tmp_path)
    assert again.read_bytes() == chain[1].read_bytes()


def test_a_wider_video_keeps_shapes_and_goes_on_at_the_sides(
    chain: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    stage = load_stage("upscale")
    stage.load(torch.device("cpu"))
    inputs = {"frames": chain[0] / "interpolate" / "frames.mkv"}
    params = entry("upscale").params(start=0, stop=1, width=384, height=256)
    out = stage.run(params, inputs, StageContext(torch.device("cpu"), tmp_path))
    (wide,) = read_frames(out["frames"], MediaLimits(1, 384, 256))
    (square,) = read_frames(chain[0] / "upscale-0" / "frames.mkv", MediaLimits(12), 0, 1)
    assert np.abs(wide[:, 80:304].astype(int) - square[:, 16:240]).mean() < 3


def test_a_plan_of_another_version_is_refused(tmp_path: Path) -> None:
    made = small_plan()
    first = made.subtasks[0].model_copy(update={"stage_version": 2})
    other = made.model_copy(update={"subtasks": (first, *made.subtasks[1:])})
    with pytest.raises(StageFailed, match="version 1, not 2"):
        run_plan_locally(other, tmp_path)


def test_denoising_in_parts_gives_the_same_latent(
    chain: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    stage = load_stage("skeleton")
    stage.load(torch.device("cpu"))
    context = StageContext(torch.device("cpu"), tmp_path)
    loop = {"seed": 5, "steps": 20, "guidance": parse_spec({"prompt": PROMPT}).guidance}
    params = entry("skeleton").params(start=0, stop=20, **loop)
    features = chain[0] / "encode_text" / "features.safetensors"
    whole = stage.run(params, {"features": features}, context)["latent"]
    parts = chain[0] / "skeleton-1" / "latent.safetensors"
    same = whole.read_bytes() == parts.read_bytes()
    assert same
    assert len(context.trajectory) == 20


def test_a_latent_where_none_belongs_is_refused(
    chain: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    stage = load_stage("skeleton")
    stage.load(torch.device("cpu"))
    inputs = {
        "features": chain[0] / "encode_text" / "features.safetensors",
        "latent": chain[0] / "skeleton-0" / "latent.safetensors",
    }
    for start, given in ((0, inputs), (10, {"features": inputs["features"]})):
        params = entry("skeleton").params(seed=5, start=start, stop=20, steps=20, guidance=3.0)
        with pytest.raises(StageFailed) as caught:
            stage.run(params, given, StageContext(torch.device("cpu"), tmp_path))
        assert caught.value.reason == "bad_input"
