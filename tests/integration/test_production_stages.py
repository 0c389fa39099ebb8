"""Production stages end to end, by the code that providers run, on tiny random weights.

Where a CUDA device is present the same tests run there in bfloat16 and print time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from production_world import DEVICES, Runs, timed  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from reelmesh.node.cli.app import outcome  # noqa: E402
from reelmesh.node.cli.media import picture_source  # noqa: E402
from reelmesh.node.models.shelf import ModelMissing, Shelf  # noqa: E402
from reelmesh.node.stages import StageFailed, load_stage  # noqa: E402
from reelmesh.node.stages.base import StageContext  # noqa: E402
from reelmesh.node.stages.local import run_plan_locally  # noqa: E402
from reelmesh.node.stages.tensors import write_tensors  # noqa: E402
from reelmesh.node.worker import RateBook, RunRequest, Worker, measure_rates  # noqa: E402
from reelmesh.scheduler.spec import parse_spec  # noqa: E402
from reelmesh.scheduler.templates import make_plan  # noqa: E402
from tests.tiny_models import make_wan  # noqa: E402

CLIP = {"model": "wan-t2v", "width": 64, "height": 64, "frames": 5}
LOOP = {**CLIP, "seed": 7, "steps": 6, "guidance": 5.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model, imported as a person would."""
    root = tmp_path_factory.mktemp("production")
    folder = make_wan(root / "given")
    done = outcome(["model", "pull", "wan-t2v", "--from", str(folder), "--home", str(root)])
    assert done == 0
    return root


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from timed(request.node.name, request.param)


@pytest.fixture
def runs(home: Path, tmp_path: Path, device: Any) -> Runs:
    return Runs(home, tmp_path, device, "wan-t2v")


def test_a_loop_cut_in_two_gives_the_very_bits_of_one(runs: Runs) -> None:
    features = runs.features()
    whole, steps = runs("denoise", {**LOOP, "start": 0, "stop": 6}, features)
    first, early = runs("denoise", {**LOOP, "start": 0, "stop": 2}, features)
    rest, late = runs("denoise", {**LOOP, "start": 2, "stop": 6}, {**features, "latent": first})
    assert rest.read_bytes() == whole.read_bytes()
    assert early + late == steps
    assert len(set(steps)) == 6
    again, _ = runs("denoise", {**LOOP, "start": 0, "stop": 6}, features)
    assert again.read_bytes() == whole.read_bytes()


def test_seed_prompt_and_guidance_each_matter(runs: Runs) -> None:
    features = runs.features()
    short = {**LOOP, "start": 0, "stop": 2}
    base = runs("denoise", short, features)[0].read_bytes()
    words = runs.features("the blue ball moves left")
    assert runs("denoise", {**short, "seed": 8}, features)[0].read_bytes() != base
    assert runs("denoise", {**short, "guidance": 1.0}, features)[0].read_bytes() != base
    assert runs("denoise", short, words)[0].read_bytes() != base


def test_a_step_cache_skips_and_the_trajectory_says_so(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = runs.features()
    plain, steps = runs("denoise", {**LOOP, "start": 0, "stop": 6}, features)
    cached = {**LOOP, "start": 0, "stop": 6, "cache": "first_block"}
    # Never near enough: the same bits, attested as made with a cache.
    monkeypatch.setattr("reelmesh.node.stages.step_cache.THRESHOLD", -1.0)
    path, whole = runs("denoise", cached, features)
    assert path.read_bytes() == plain.read_bytes()
    assert not set(whole) & set(steps)
    # Always near enough: every step after the first is skipped.
    monkeypatch.setattr("reelmesh.node.stages.step_cache.THRESHOLD", 1e9)
    passes: list[int] = []
    block = runs.stage("denoise")._network.blocks[-1].attn1
    handle = block.register_forward_hook(lambda *_: passes.append(1))
    path, skipped = runs("denoise", cached, features)
    handle.remove()
    assert len(passes) == 2  # the prompt's and the negative's, of one step
    assert path.read_bytes() != plain.read_bytes()
    assert not set(skipped[1:]) & set(whole)
    # Off again, nothing of it is left.
    assert runs("denoise", {**LOOP, "start": 0, "stop": 6}, features)[0].read_bytes() == (
        plain.read_bytes()
    )


def test_mag_skips_by_published_ratios_and_a_range_by_its_own_part_of_them(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = runs.features()
    loop = {**LOOP, "steps": 20, "cache": "mag"}
    block = runs.stage("denoise")._network.blocks[-1].attn1

    def whole_steps(start: int, stop: int, given: dict[str, Path]) -> tuple[Path, list[int]]:
        """Which steps were whole: all passes of the network are counted, two a step."""
        seen: list[int] = []
        total: list[int] = []
        handles = [
            runs.stage("denoise")._network.register_forward_pre_hook(lambda *_: total.append(1)),
            block.register_forward_pre_hook(lambda *_: seen.append((len(total) - 1) // 2)),
        ]
        path, steps = runs("denoise", {**loop, "start": start, "stop": stop}, given)
        for handle in handles:
            handle.remove()
        assert len(total) == 2 * (stop - start) == 2 * len(set(steps))
        assert seen[0::2] == seen[1::2]  # the prompt's pass and the negative's skip alike
        return path, [start + number for number in seen[0::2]]

    path, whole = whole_steps(0, 20, features)
    assert whole[:4] == [0, 1, 2, 3]  # the first fifth
    assert len(whole) <= 12
    assert max(b - a for a, b in pairwise([*whole, 20])) <= 5
    # A loop cut in two: each range begins whole, the second has no fifth of its own to keep.
    first, early = whole_steps(0, 10, features)
    _, late = whole_steps(10, 20, {**features, "latent": first})
    assert early == [number for number in whole if number < 10]
    assert late[0] == 10
    assert late[1] > 11
    # A stricter threshold skips nothing, and so changes nothing but what is attested.
    monkeypatch.setattr("reelmesh.node.stages.step_cache.MAG_THRESHOLD", -1.0)
    strict, every = whole_steps(0, 20, features)
    assert every == list(range(20))
    plain, _ = runs("denoise", {**loop, "cache": "off", "start": 0, "stop": 20}, features)
    assert strict.read_bytes() == plain.read_bytes() != path.read_bytes()


def test_decoding_gives_the_clips_frames(runs: Runs) -> None:
    features = runs.features()
    latent, _ = runs("denoise", {**LOOP, "start": 0, "stop": 2}, features)
    frames, steps = runs("decode_latent", CLIP, {"latent": latent})
    with av.open(str(frames)) as media:
        pictures = list(media.decode(video=0))
    assert [(one.width, one.height) for one in pictures] == [(64, 64)] * 5
    assert len(steps) == 1


@pytest.mark.parametrize("what", ["shape", "nan", "huge", "text", "junk"])
def test_hostile_inputs_are_refused(runs: Runs, tmp_path: Path, what: str) -> None:
    latent = torch.zeros(1, 16, 2, 8, 8)
    bad = tmp_path / "bad.safetensors"
    if what == "text":
        text = {name: torch.zeros(1, 4, 33) for name in ("prompt", "negative")}
        with pytest.raises(StageFailed, match="features a token"):
            runs(
                "denoise",
                {**LOOP, "start": 0, "stop": 2},
                {"features": write_tensors(bad, text)},
            )
        return
    latent[0, 0, 0, 0, 0] = {"nan": float("nan"), "huge": 1e6}.get(what, 0.0)
    write_tensors(bad, {"latent": latent[:, :, :1] if what == "shape" else latent})
    if what == "junk":
        bad.write_bytes(b"\x80\x04junk")
    with pytest.raises(StageFailed) as caught:
        runs("decode_latent", CLIP, {"latent": bad})
    assert caught.value.reason == "bad_input"


def test_a_picture_becomes_the_clip_that_it_begins(tmp_path: Path, device: Any) -> None:
    """Image to video, through import, spec and plan, to an MP4."""
    import cv2
    import numpy as np

    given = make_wan(tmp_path / "given", with_picture=True)
    pull = ["model", "pull", "wan-i2v", "--from", str(given), "--home", str(tmp_path)]
    assert outcome(pull) == 0
    picture = tmp_path / "picture.png"
    colours = np.random.default_rng(1).integers(0, 256, (90, 160, 3), np.uint8)
    assert cv2.imwrite(str(picture), colours)
    source = picture_source(picture)
    asked = {"kind": "image_to_video", "image": source.model_dump(), "model": "wan-i2v"}
    size = {"width": 256, "height": 256, "seconds": 1, "fps": 12, "steps": 4}
    plan = make_plan(parse_spec({"prompt": "a red fox runs", "seed": 1, **asked, **size}))
    sources = {str(source.sha256): picture}
    video = run_plan_locally(plan, tmp_path, device, sources=sources, models=tmp_path / "models")
    with av.open(str(video)) as media:
        assert sum(1 for _ in media.decode(video=0)) == 12
    # Another picture, another clip: it is really looked at.
    step = plan["denoise-0"]
    shelf = Shelf(tmp_path / "models")
    stage = load_stage("denoise", shelf.get("wan-i2v"))
    stage.load(device)
    inputs = {ref.name: _only(tmp_path / ref.subtask) for ref in step.inputs}
    condition = load_file(inputs["condition"])
    assert tuple(condition["latent"].shape) == (1, 20, 5, 32, 32)
    other = {name: one.flip(-1).contiguous() for name, one in condition.items()}
    changed = write_tensors(tmp_path / "other.safetensors", other)
    (tmp_path / "again").mkdir()
    context = StageContext(device, tmp_path / "again")
    made = stage.run(step.parsed_params(), {**inputs, "condition": changed}, context)
    assert made["latent"].read_bytes() != _only(tmp_path / "denoise-0").read_bytes()


def _only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_a_whole_job_becomes_an_mp4(home: Path, tmp_path: Path) -> None:
    spec = parse_spec(
        {"prompt": "a red fox runs", "model": "wan-t2v", "seconds": 1, "steps": 4, "fps": 12}
        | {"width": 256, "height": 256, "seed": 3, "step_cache": "first_block"}
    )
    plan = make_plan(spec)
    assert {task.model for task in plan.subtasks} == {"", "wan-t2v"}
    video = run_plan_locally(plan, tmp_path, models=home / "models")
    with av.open(str(video)) as media:
        pictures = sum(1 for _ in media.decode(video=0))
        assert (media.streams.video[0].width, pictures) == (256, 12)


async def test_a_worker_measures_offers_and_runs_it(home: Path, tmp_path: Path) -> None:
    """The worker process itself; what it says it runs with is what the shelf says."""
    async with Worker("cpu", 1, tmp_path / "scratch", models=home / "models") as worker:
        book = RateBook(tmp_path / "rates.json")
        rates = await measure_rates(worker, ["encode_prompt@wan-t2v"], book)
        wanted = Shelf(home / "models").get("wan-t2v").model_hash("float32")
        assert rates["encode_prompt@wan-t2v"].model_hash == wanted.hex()
        params = {"model": "wan-t2v", "prompt": "a red fox", "negative": ""}
        request = RunRequest("encode_prompt", 1, json.dumps(params), {}, 120.0)
        done = await worker.run(request)
        assert done.model_hash == wanted
        assert "encode_prompt@wan-t2v" in worker.resident
        with pytest.raises(StageFailed, match="reelmesh model pull wan-t2v-14b"):
            await worker.load("encode_prompt@wan-t2v-14b")


def test_weights_that_changed_are_not_loaded(home: Path, tmp_path: Path) -> None:
    folder = make_wan(tmp_path / "given")
    shelf = Shelf(tmp_path / "models")
    from reelmesh.scheduler.models import MODELS

    found = shelf.keep(MODELS["wan-t2v"], folder, "folder", move=False)
    weights = next((found.folder / "vae").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelMissing, match="not the file that was pulled"):
        load_stage("decode_latent", found).load(torch.device("cpu"))
