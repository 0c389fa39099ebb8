"""A production depth model as a backend of the stage `depth`, on tiny random weights.

Where a CUDA device is present the same tests run there too, in bfloat16, and print time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from production_world import DEVICES, timed  # noqa: E402

from reelmesh.node.cli.app import outcome  # noqa: E402
from reelmesh.node.cli.asking import build_request  # noqa: E402
from reelmesh.node.cli.options import JobOptions  # noqa: E402
from reelmesh.node.config import ProviderConfig  # noqa: E402
from reelmesh.node.models.shelf import Shelf  # noqa: E402
from reelmesh.node.provider.machine import open_machine  # noqa: E402
from reelmesh.node.stages import StageFailed, load_stage  # noqa: E402
from reelmesh.node.stages.base import StageContext  # noqa: E402
from reelmesh.node.stages.depth_anything import scale_of, seen_size  # noqa: E402
from reelmesh.node.stages.fourd.depth_video import read_depth  # noqa: E402
from reelmesh.node.stages.frames import write_frames  # noqa: E402
from reelmesh.node.stages.local import run_plan_locally  # noqa: E402
from reelmesh.node.worker import RunRequest  # noqa: E402
from reelmesh.scheduler.models import MODELS  # noqa: E402
from reelmesh.scheduler.plan import Plan  # noqa: E402
from reelmesh.scheduler.stages import parse_params  # noqa: E402
from reelmesh.scheduler.stages.depth import anchors  # noqa: E402
from reelmesh.scheduler.templates import make_plan  # noqa: E402
from tests.footage_maker import quarters, write_footage  # noqa: E402
from tests.tiny_models import make_depth  # noqa: E402

NAME = "depth-anything-v2-small"
FRAMES, HEIGHT, WIDTH = 6, 64, 96
CLIP = {"model": NAME, "total": FRAMES, "width": WIDTH, "height": HEIGHT}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model, imported as a person would."""
    root = tmp_path_factory.mktemp("depth")
    given = make_depth(root / "given")
    assert outcome(["model", "pull", NAME, "--from", str(given), "--home", str(root)]) == 0
    return root


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from timed(request.node.name, request.param)


def clip(folder: Path) -> Path:
    """A bright square that grows over a slope, as "frames"."""
    slope = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))
    pictures = np.repeat(slope[None, :, :, None], FRAMES, axis=0).repeat(3, axis=3)
    for number, picture in enumerate(pictures):
        picture[20 : 30 + 4 * number, 30 : 40 + 6 * number] = (250, 200, 40)
    return write_frames(folder / "frames.mkv", pictures.astype(np.uint8))


def test_all_runs_of_a_clip_share_one_scale(home: Path, tmp_path: Path, device: Any) -> None:
    stage = load_stage("depth", Shelf(home / "models").get(NAME))
    stage.load(device)
    frames = clip(tmp_path)

    def depth(start: int, stop: int) -> tuple[Any, list[bytes]]:
        folder = tmp_path / f"{start}-{stop}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        context = StageContext(device, folder)
        params = parse_params("depth", {**CLIP, "start": start, "stop": stop})
        path = stage.run(params, {"frames": frames}, context)["depth"]
        return read_depth(path, stop - start, HEIGHT, WIDTH), context.trajectory

    whole, steps = depth(0, FRAMES)
    parts = [depth(0, 2), depth(2, FRAMES)]
    assert np.array_equal(whole, np.concatenate([part for part, _ in parts]))
    assert steps == [step for _, part in parts for step in part]
    assert len(set(steps)) == FRAMES
    # Far and near of the clip lie where every reader of the kind "depth" expects room around them.
    assert np.quantile(whole, 0.02) == pytest.approx(0.25, abs=0.08)
    assert np.quantile(whole, 0.98) == pytest.approx(0.75, abs=0.08)
    assert np.array_equal(depth(0, FRAMES)[0], whole)


def test_a_scale_comes_of_frames_spread_over_the_clip_and_is_never_nothing() -> None:
    assert anchors(100) == [10, 30, 50, 70, 90]
    assert anchors(3) == [0, 1, 2]
    assert anchors(0) == []
    low, high = scale_of([torch.full((8, 8), 7.0)])
    assert low == 7.0 < high


def test_the_network_sees_whole_patches_in_the_pictures_shape() -> None:
    assert seen_size(288, 512, 518, 14) == (294, 518)
    assert seen_size(512, 512, 518, 14) == (518, 518)
    assert max(seen_size(64, 512, 518, 14)) <= 1036


def test_footage_goes_through_a_job_that_names_it(home: Path, tmp_path: Path, device: Any) -> None:
    """From what a buyer types to the clip's steady depth."""
    pictures = [np.roll(quarters(144, 192), 6 * i, axis=1) for i in range(30)]
    video = write_footage(tmp_path / "in.mp4", pictures)
    request = build_request(
        JobOptions(video=video, orbit="-10:10", model=NAME, seconds=1, fps=12, views=6, seed=1)
    )
    assert not any("small built-in network" in note for note in request.notes)
    plan = make_plan(request.spec)
    assert {task.offering for task in plan.subtasks if task.model} == {f"depth@{NAME}"}
    until = next(i for i, task in enumerate(plan.subtasks) if task.stage == "steady_depth")
    start = Plan(spec_hash=plan.spec_hash, subtasks=plan.subtasks[: until + 1])
    sources = {str(source.sha256): video for source in request.spec.sources().values()}
    made = run_plan_locally(start, tmp_path, device, sources=sources, models=home / "models")
    size = plan["steady_depth"].params
    steady = read_depth(made, 6, int(str(size["height"])), int(str(size["width"])))
    assert len(steady) == 6
    assert steady.max() - steady.min() > 0.5


async def test_a_provider_offers_both_backends_and_its_worker_runs_each(
    home: Path, tmp_path: Path
) -> None:
    config = ProviderConfig(
        home=tmp_path / "node",
        chain_id=31337,
        deployment=tmp_path / "none.json",
        device="cpu",
        stages=("depth",),
        models=home / "models",
    )
    shelf = Shelf(home / "models")
    async with open_machine(config, tmp_path / "scratch") as machine:
        await machine.measure()
        rates = machine.rates()
        assert set(rates) == {"depth", f"depth@{NAME}"}
        wanted = shelf.get(NAME).model_hash("float32")
        assert rates[f"depth@{NAME}"].model_hash == wanted
        assert rates["depth"].model_hash == b""
        inputs = {"frames": clip(tmp_path)}
        run = {"start": 0, "stop": 2, "width": WIDTH, "height": HEIGHT}
        named = {**run, "model": NAME, "total": FRAMES}
        done = [
            await machine.workers[0].run(RunRequest("depth", 1, json.dumps(one), inputs, 600.0))
            for one in (named, run)
        ]
    assert done[0].model_hash == wanted != done[1].model_hash
    planes = [read_depth(one.outputs["depth"], 2, HEIGHT, WIDTH) for one in done]
    assert not np.array_equal(*planes)


def test_weights_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    given = make_depth(tmp_path / "given")
    weights = load_file(given / "model.safetensors")
    del weights["head.conv3.weight"]
    save_file(weights, given / "model.safetensors", {"format": "pt"})
    found = Shelf(tmp_path / "models").keep(MODELS[NAME], given, "folder", move=False)
    with pytest.raises(StageFailed, match=r"its weights lack head\.conv3\.weight"):
        load_stage("depth", found).load(torch.device("cpu"))


@pytest.mark.parametrize("told", [{"size": {"height": 99_999}}, {"image_mean": "x"}, {}])
def test_a_configuration_that_is_none_of_its_kind_is_refused(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    given = make_depth(tmp_path / "given")
    path = given / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told} if told else {}))
    found = Shelf(tmp_path / "models").keep(MODELS[NAME], given, "folder", move=False)
    with pytest.raises(StageFailed, match="cannot be loaded") as caught:
        load_stage("depth", found).load(torch.device("cpu"))
    assert caught.value.reason == "not_installed"
