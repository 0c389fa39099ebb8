"""LTX-2's stages end to end, by the code that providers run, on tiny random weights.

Where a CUDA device is present the same tests run there in bfloat16 and print time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from ltx2_world import CLIP, LARGE, LOOP, MODEL, LtxRuns, make_home  # noqa: E402
from production_world import DEVICES, timed  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from reelmesh.node.models.shelf import Shelf  # noqa: E402
from reelmesh.node.stages import StageFailed  # noqa: E402
from reelmesh.node.stages.local import run_plan_locally  # noqa: E402
from reelmesh.node.stages.sounds import RATE, read_sound  # noqa: E402
from reelmesh.node.stages.tensors import write_tensors  # noqa: E402
from reelmesh.node.worker import RateBook, RunRequest, Worker, measure_rates  # noqa: E402
from reelmesh.scheduler.models import MODELS  # noqa: E402
from reelmesh.scheduler.spec import parse_spec  # noqa: E402
from reelmesh.scheduler.stages import parse_params  # noqa: E402
from reelmesh.scheduler.templates import make_plan  # noqa: E402


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("ltx2"))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from timed(request.node.name, request.param)


@pytest.fixture
def runs(home: Path, tmp_path: Path, device: Any) -> LtxRuns:
    return LtxRuns(home, tmp_path, device)


def test_a_loop_cut_in_two_gives_the_very_bits_of_one(runs: LtxRuns) -> None:
    features = runs.features()
    whole, steps = runs("denoise", {**LOOP, "start": 0, "stop": 4}, features)
    first, early = runs("denoise", {**LOOP, "start": 0, "stop": 1}, features)
    rest, late = runs("denoise", {**LOOP, "start": 1, "stop": 4}, {**features, "latent": first})
    assert rest.read_bytes() == whole.read_bytes()
    assert early + late == steps
    assert len(set(steps)) == 4
    both = load_file(whole)
    assert tuple(both["video"].shape) == (1, 128, 3, 2, 2)
    assert tuple(both["audio"].shape) == (1, 18, 128)


def test_prompt_seed_and_guidance_reach_picture_and_sound(runs: LtxRuns) -> None:
    short = {**LOOP, "start": 0, "stop": 2}
    features = runs.features()
    base = load_file(runs("denoise", short, features)[0])
    other = runs("denoise", short, runs.features("the blue ball moves left"))
    seeded = runs("denoise", {**short, "seed": 8}, features)
    free = runs("denoise", {**short, "guidance": 1.0}, features)
    for path, _ in (other, seeded, free):
        changed = load_file(path)
        assert not torch.equal(changed["video"], base["video"])
        assert not torch.equal(changed["audio"], base["audio"])


def test_the_latent_is_doubled_refined_and_becomes_frames_and_sound(runs: LtxRuns) -> None:
    features = runs.features()
    latent, _ = runs("denoise", {**LOOP, "start": 0, "stop": 4}, features)
    doubled, _ = runs("upsample_latent", CLIP, {"latent": latent})
    small, large = load_file(latent), load_file(doubled)
    assert tuple(large["video"].shape) == (1, 128, 3, 4, 4)
    assert torch.equal(large["audio"], small["audio"])
    given = {**features, "latent": doubled}
    refined, steps = runs("refine_latent", {**LARGE, "seed": 7}, given)
    assert len(set(steps)) == 3
    again, _ = runs("refine_latent", {**LARGE, "seed": 7}, given)
    assert again.read_bytes() == refined.read_bytes()
    frames, _ = runs("decode_latent", {**LARGE, "keep": 12}, {"latent": refined})
    with av.open(str(frames)) as media:
        pictures = list(media.decode(video=0))
    assert [(one.width, one.height) for one in pictures] == [(128, 128)] * 12
    sound, _ = runs("decode_audio", {**LARGE, "seconds": 0.5}, {"latent": refined})
    pcm = read_sound(sound)
    assert pcm.shape == (2, RATE // 2)
    assert pcm.any()


def test_refinement_runs_with_what_the_makers_distilled(runs: LtxRuns) -> None:
    plain = runs.stage("denoise")._network.transformer_blocks
    taught = runs.stage("refine_latent")._network.transformer_blocks
    assert not torch.equal(plain[0].attn1.to_q.weight, taught[0].attn1.to_q.weight)
    assert torch.equal(plain[1].attn1.to_q.weight, taught[1].attn1.to_q.weight)
    given = load_file(
        runs.stage("refine_latent").folder("ltx-2-19b-distilled-lora-384.safetensors")
    )
    down, up = (next(t for n, t in given.items() if f"lora_{x}" in n) for x in "AB")
    wanted = plain[0].attn1.to_q.weight.float().cpu() + up @ down
    found = taught[0].attn1.to_q.weight.float().cpu()
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


def test_it_is_what_the_makers_pipeline_gives(home: Path, tmp_path: Path) -> None:
    """In float32, from the same noise: latents after each part, pictures and waves."""
    from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline
    from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline
    from diffusers.pipelines.ltx2.utils import STAGE_2_DISTILLED_SIGMA_VALUES as SIGMAS

    from reelmesh.node.stages.ltx2.network import noise

    runs = LtxRuns(home, tmp_path, torch.device("cpu"))
    stages = {name: runs.stage(name) for name in MODELS["ltx-2"].stages}
    first, refiner = stages["denoise"], stages["refine_latent"]
    pipe = LTX2Pipeline(
        scheduler=first._solver(),
        vae=stages["decode_latent"]._decoder,
        audio_vae=stages["decode_audio"]._decoder,
        text_encoder=stages["encode_prompt"]._encoder,
        tokenizer=stages["encode_prompt"]._tokenizer,
        connectors=stages["encode_prompt"]._connectors,
        transformer=first._network,
        vocoder=stages["decode_audio"]._vocoder,
    )
    pipe.set_progress_bar_config(disable=True)
    asked = {"prompt": "a red fox runs", "negative_prompt": "grey", "num_frames": 17}
    # What the pipeline does of itself is for the model's later versions.
    plain = dict.fromkeys(("stg_scale", "audio_stg_scale"), 0.0)
    plain |= dict.fromkeys(("modality_scale", "audio_modality_scale"), 1.0)
    plain |= dict.fromkeys(("guidance_rescale", "audio_guidance_rescale"), 0.0)
    asked |= {**plain, "use_cross_timestep": False}
    coder = stages["decode_audio"]._decoder

    def said(video: Any, audio: Any) -> dict[str, Any]:
        # Given as tokens the pipeline takes the video as it is, and scales the sound.
        scaled = audio * coder.latents_std + coder.latents_mean
        return {"latents": video.flatten(2).transpose(1, 2), "audio_latents": scaled}

    def sound(audio: Any) -> Any:
        scaled = audio * coder.latents_std + coder.latents_mean
        return scaled.unflatten(2, (8, 16)).transpose(1, 2)

    begun = noise(parse_params("denoise", {**LOOP, "start": 0, "stop": 4}))
    small = {"width": 64, "height": 64, "num_inference_steps": 4}
    small |= {"guidance_scale": 4.0, "audio_guidance_scale": 4.0}
    video, audio = pipe(**asked, **small, **said(*begun), output_type="latent", return_dict=False)
    features = runs.features()
    path, _ = runs("denoise", {**LOOP, "start": 0, "stop": 4}, features)
    ours = load_file(path)
    scale = stages["upsample_latent"]._scale
    torch.testing.assert_close(scale.to_autoencoder(ours["video"]), video, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sound(ours["audio"]), audio, rtol=1e-3, atol=1e-4)

    double = LTX2LatentUpsamplePipeline(pipe.vae, stages["upsample_latent"]._upsampler)
    double.set_progress_bar_config(disable=True)
    large = double(latents=video, output_type="latent", return_dict=False)[0]
    path, _ = runs("upsample_latent", CLIP, {"latent": path})
    ours = load_file(path)
    torch.testing.assert_close(scale.to_autoencoder(ours["video"]), large, rtol=1e-3, atol=1e-4)

    params = parse_params("refine_latent", {**LARGE, "seed": 7})
    mixed = [
        SIGMAS[0] * new + (1 - SIGMAS[0]) * old
        for new, old in zip(noise(params), (ours["video"], ours["audio"]), strict=True)
    ]
    pipe.transformer = refiner._network
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
    )
    whole = {"width": 128, "height": 128, "num_inference_steps": 3}
    whole |= {"guidance_scale": 1.0, "audio_guidance_scale": 1.0}
    pictures, waves = pipe(
        **asked, **whole, **said(*mixed), sigmas=SIGMAS, output_type="np", return_dict=False
    )
    path, _ = runs("refine_latent", {**LARGE, "seed": 7}, {**features, "latent": path})
    frames, _ = runs("decode_latent", LARGE, {"latent": path})
    with av.open(str(frames)) as media:
        shown = np.stack([one.to_ndarray(format="rgb24") for one in media.decode(video=0)])
    assert np.abs(shown - pictures[0] * 255).max() < 1.5
    mine = stages["decode_audio"]._waves(load_file(path)["audio"])
    torch.testing.assert_close(mine, waves[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("what", ["shape", "nan", "names", "text"])
def test_hostile_inputs_are_refused(runs: LtxRuns, tmp_path: Path, what: str) -> None:
    bad = tmp_path / "bad.safetensors"
    if what == "text":
        halves = [
            f"{text}_{half}" for text in ("prompt", "negative") for half in ("video", "audio")
        ]
        write_tensors(bad, {name: torch.zeros(1, 1024, 33) for name in halves})
        with pytest.raises(StageFailed, match="features a token"):
            runs("denoise", {**LOOP, "start": 0, "stop": 2}, {"features": bad})
        return
    latent = {"video": torch.zeros(1, 128, 3, 2, 2), "audio": torch.zeros(1, 18, 128)}
    latent["audio"][0, 0, 0] = float("nan") if what == "nan" else 0.0
    if what == "shape":
        latent["audio"] = latent["audio"][:, :17]
    if what == "names":
        del latent["audio"]
    write_tensors(bad, latent)
    stages = (("decode_audio", {**CLIP, "seconds": 0.5}), ("upsample_latent", CLIP))
    for name, params in stages:
        with pytest.raises(StageFailed) as caught:
            runs(name, params, {"latent": bad})
        assert caught.value.reason == "bad_input"


def test_a_whole_job_becomes_an_mp4_with_sound(home: Path, tmp_path: Path, device: Any) -> None:
    asked = {"prompt": "a red fox runs", "audio": True, "seconds": 1, "steps": 4, "fps": 12}
    spec = parse_spec({**asked, **MODEL, "width": 256, "height": 256, "seed": 3})
    plan = make_plan(spec)
    video = run_plan_locally(plan, tmp_path, device, models=home / "models")
    with av.open(str(video)) as media:
        pictures = sum(1 for _ in media.decode(video=0))
        assert (media.streams.video[0].width, pictures) == (256, 12)
    with av.open(str(video)) as media:
        samples = sum(frame.samples for frame in media.decode(audio=0))
        assert abs(samples - RATE) <= 1024
    with av.open(str(next((tmp_path / "decode_latent").iterdir()))) as media:
        assert sum(1 for _ in media.decode(video=0)) == 24


async def test_a_worker_measures_and_runs_every_stage(home: Path, tmp_path: Path) -> None:
    """The worker process itself; what it says it runs with is what the shelf says."""
    names = [f"{stage}@ltx-2" for stage in MODELS["ltx-2"].stages]
    async with Worker("cpu", 1, tmp_path / "scratch", models=home / "models") as worker:
        rates = await measure_rates(worker, names, RateBook(tmp_path / "rates.json"))
        wanted = Shelf(home / "models").get("ltx-2").model_hash("float32")
        assert {name: rates[name].model_hash for name in names} == dict.fromkeys(
            names, wanted.hex()
        )
        latent = {"video": torch.zeros(1, 128, 3, 2, 2), "audio": torch.ones(1, 18, 128)}
        path = write_tensors(tmp_path / "latent.safetensors", latent)
        params = json.dumps({**CLIP, "seconds": 0.5})
        request = RunRequest("decode_audio", 1, params, {"latent": path}, 600.0)
        done = await worker.run(request)
        assert done.model_hash == wanted
        assert read_sound(done.outputs["sound"]).shape == (2, RATE // 2)
