"""LTX-2 makes the sound of a film that is there: its stages end to end, on tiny random weights.

Where a CUDA device is present the same tests run there in bfloat16 and print time and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from ltx2_world import CLIP, LOOP, SEEN, LtxRuns, make_home, pictures  # noqa: E402
from production_world import DEVICES, timed  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from reelmesh.node.stages import StageFailed  # noqa: E402
from reelmesh.node.stages.frames import write_frames  # noqa: E402
from reelmesh.node.stages.local import run_plan_locally  # noqa: E402
from reelmesh.node.stages.sounds import RATE, read_sound  # noqa: E402
from reelmesh.node.stages.tensors import write_tensors  # noqa: E402
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


def test_a_sound_is_made_for_pictures_that_stay_as_they_are(runs: LtxRuns) -> None:
    given = {**runs.features(), **runs.looked_at()}
    whole, steps = runs("denoise_audio", {**LOOP, "start": 0, "stop": 4}, given)
    first, early = runs("denoise_audio", {**LOOP, "start": 0, "stop": 1}, given)
    rest, late = runs("denoise_audio", {**LOOP, "start": 1, "stop": 4}, {**given, "latent": first})
    assert rest.read_bytes() == whole.read_bytes()
    assert early + late == steps
    assert len(set(steps)) == 4
    clip, both = load_file(given["clip"]), load_file(whole)
    assert set(clip) == {"video"}
    assert tuple(clip["video"].shape) == (1, 128, 3, 2, 2)
    assert torch.equal(both["video"], clip["video"])
    assert tuple(both["audio"].shape) == (1, 18, 128)
    sound, _ = runs("decode_audio", {**CLIP, "seconds": 0.5}, {"latent": whole})
    pcm = read_sound(sound)
    assert pcm.shape == (2, RATE // 2)
    assert pcm.any()


def test_the_sound_follows_pictures_prompt_and_seed(runs: LtxRuns) -> None:
    short = {**LOOP, "start": 0, "stop": 2}
    features, clip = runs.features(), runs.looked_at()
    base = load_file(runs("denoise_audio", short, {**features, **clip})[0])["audio"]
    words = runs.features("the blue ball moves left")
    others = [
        runs("denoise_audio", short, {**features, **runs.looked_at(2)}),
        runs("denoise_audio", short, {**words, **clip}),
        runs("denoise_audio", {**short, "seed": 8}, {**features, **clip}),
        runs("denoise_audio", {**short, "guidance": 1.0}, {**features, **clip}),
    ]
    for path, _ in others:
        assert not torch.equal(load_file(path)["audio"], base)


def test_frames_of_any_size_and_rate_are_looked_at_when_they_are_shown(
    runs: LtxRuns, tmp_path: Path
) -> None:
    """9 frames at half the rate are each seen twice, but the last: as if they were written so."""
    few = pictures(3, count=9)
    twice = np.repeat(few, 2, axis=0)[1:]
    at_half = write_frames(tmp_path / "half.mkv", few)
    in_full = write_frames(tmp_path / "full.mkv", twice)
    half, _ = runs(
        "encode_frames", {**SEEN, "count": 9, "fps": 12, "total": 9}, {"frames": at_half}
    )
    full, _ = runs("encode_frames", SEEN, {"frames": in_full})
    assert half.read_bytes() == full.read_bytes()
    wide = write_frames(tmp_path / "wide.mkv", pictures(3, count=4, size=(96, 48)))
    seen = {**SEEN, "width": 128, "count": 4, "fps": 30, "total": 21}
    latent = load_file(runs("encode_frames", seen, {"frames": wide})[0])["video"]
    assert tuple(latent.shape) == (1, 128, 3, 2, 4)
    assert bool(torch.isfinite(latent).all())


def test_the_sound_is_what_the_makers_pipeline_gives_with_the_whole_film_as_condition(
    home: Path, tmp_path: Path
) -> None:
    """In float32, from the same noise: of the pictures nothing is left to their pipeline."""
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import (
        LTX2ConditionPipeline,
        LTX2VideoCondition,
    )

    from reelmesh.node.stages.ltx2.network import noise

    runs = LtxRuns(home, tmp_path, torch.device("cpu"))
    reader, ours = runs.stage("encode_prompt"), runs.stage("denoise_audio")
    pipe = LTX2ConditionPipeline(
        scheduler=ours._solver(),
        vae=runs.stage("encode_frames")._coder,
        audio_vae=runs.stage("decode_audio")._decoder,
        text_encoder=reader._encoder,
        tokenizer=reader._tokenizer,
        connectors=reader._connectors,
        transformer=ours._network,
        vocoder=runs.stage("decode_audio")._vocoder,
    )
    pipe.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"prompt": "a red fox runs", "negative_prompt": "grey"}
    asked |= {"width": 64, "height": 64, "num_frames": 17, "num_inference_steps": 4}
    asked |= {"guidance_scale": 4.0, "audio_guidance_scale": 4.0, "use_cross_timestep": False}
    asked |= dict.fromkeys(("stg_scale", "audio_stg_scale"), 0.0)
    asked |= dict.fromkeys(("modality_scale", "audio_modality_scale"), 1.0)
    asked |= dict.fromkeys(("guidance_rescale", "audio_guidance_rescale"), 0.0)
    loop = {**LOOP, "start": 0, "stop": 4}
    coder = runs.stage("decode_audio")._decoder

    def sound(audio: Any) -> Any:
        scaled = audio * coder.latents_std + coder.latents_mean
        return scaled.unflatten(2, (8, 16)).transpose(1, 2)

    begun = sound(noise(parse_params("denoise_audio", loop))[1])
    video, audio = pipe(
        **asked,
        conditions=[LTX2VideoCondition(frames=pictures(1), index=0, strength=1.0)],
        audio_latents=begun,
        noise_scale=0.0,
        output_type="latent",
        return_dict=False,
    )
    given = {**runs.features(), **runs.looked_at(1)}
    made = load_file(runs("denoise_audio", loop, given)[0])
    scale = runs.stage("encode_frames")._scale
    torch.testing.assert_close(scale.to_autoencoder(made["video"]), video, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sound(made["audio"]), audio, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("what", ["channels", "size", "nan", "names", "other", "frames", "film"])
def test_hostile_clips_and_films_are_refused(runs: LtxRuns, tmp_path: Path, what: str) -> None:
    bad = tmp_path / "bad"
    if what in ("frames", "film"):
        if what == "frames":
            write_frames(bad, pictures(1, count=16))
        else:
            bad.write_bytes(b"no film")
        with pytest.raises(StageFailed) as caught:
            runs("encode_frames", SEEN, {"frames": bad})
        assert caught.value.reason == "bad_input"
        return
    shape = {"channels": (1, 64, 3, 2, 2), "size": (1, 128, 3, 2, 4)}.get(what, (1, 128, 3, 2, 2))
    video = torch.zeros(shape)
    video[0, 0, 0, 0, 0] = float("nan") if what == "nan" else 0.0
    loop = {**LOOP, "start": 0, "stop": 2}
    given = {**runs.features(), "clip": write_tensors(bad, {"video": video})}
    if what == "names":
        write_tensors(bad, {"video": video, "audio": torch.zeros(1, 18, 128)})
    if what == "other":
        loop |= {"start": 1}
        before = {"video": torch.ones(shape), "audio": torch.zeros(1, 18, 128)}
        given["latent"] = write_tensors(tmp_path / "before", before)
    with pytest.raises(StageFailed) as caught:
        runs("denoise_audio", loop, given)
    assert caught.value.reason == "bad_input"


def test_a_clip_of_the_built_in_model_gets_its_sound_from_ltx2(
    home: Path, tmp_path: Path, device: Any
) -> None:
    asked = {"prompt": 'a red ball says "hi"', "audio": True, "seconds": 1, "steps": 4}
    plan = make_plan(parse_spec({**asked, "audio_model": "ltx-2", "width": 256, "height": 256}))
    video = run_plan_locally(plan, tmp_path, device, models=home / "models")
    with av.open(str(video)) as media:
        assert sum(1 for _ in media.decode(video=0)) == 24
    with av.open(str(video)) as media:
        heard = [frame.to_ndarray() for frame in media.decode(audio=0)]
    samples = np.concatenate(heard, axis=1)
    assert abs(samples.shape[1] - RATE) <= 1024
    assert samples.any()
