"""The model's loop divides without a trace, and refuses what is out of bounds."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from reelmesh.node.stages.tiny_t2v import (
    Cancelled,
    DenoiseRefused,
    PromptRefused,
    TinyT2V,
    WeightsDamaged,
    load,
    text_features,
)
from reelmesh.node.stages.tiny_t2v.denoiser import times, velocity
from reelmesh.node.stages.tiny_t2v.model import strength
from reelmesh.node.stages.tiny_t2v.plain import PromptReader
from reelmesh.node.stages.tiny_t2v.released import WEIGHTS

WORDS = torch.randn(9, 384, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model() -> TinyT2V:
    return load("cpu")


@pytest.fixture(scope="module")
def cond(model: TinyT2V) -> Tensor:
    return model.condition(WORDS)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_noise_depends_on_the_seed_alone(model: TinyT2V) -> None:
    assert torch.equal(model.init_latent(5), model.init_latent(5))
    assert not torch.equal(model.init_latent(5), model.init_latent(6))
    assert model.init_latent(2**63 - 1).shape == model.latent_shape
    with pytest.raises(DenoiseRefused):
        model.init_latent(-1)


@pytest.mark.parametrize("cuts", [(1,), (3,), (2, 4)])
def test_split_through_safetensors_is_bitwise_equal(
    model: TinyT2V, cond: Tensor, cuts: tuple[int, ...]
) -> None:
    whole = model.denoise(model.init_latent(3), cond, 0, 6, 6)
    z, start = model.init_latent(3), 0
    for stop in (*cuts, 6):
        carried = read_tensors(write_tensors({"z": z, "cond": cond}))
        z = model.denoise(carried["z"], carried["cond"], start, stop, 6)
        start = stop
    assert torch.equal(z, whole)


@pytest.mark.usefixtures("one_thread")
def test_threads_do_not_change_a_bit(model: TinyT2V, cond: Tensor) -> None:
    first = torch.full((64, 64, 3), 40, dtype=torch.uint8)
    one = model.denoise(model.init_latent(4), cond, 0, 3, 20, first_frame=first)
    one_frames, one_cond = model.decode(one), model.condition(WORDS)
    torch.set_num_threads(2)
    two = model.denoise(model.init_latent(4), cond, 0, 3, 20, first_frame=first)
    assert torch.equal(one, two)
    assert torch.equal(one_frames, model.decode(two))
    assert torch.equal(model.condition(WORDS), one_cond)


def test_each_step_is_shown_and_can_be_run_again_alone(model: TinyT2V, cond: Tensor) -> None:
    seen: list[tuple[int, Tensor]] = []
    out = model.denoise(
        model.init_latent(2), cond, 1, 4, 5, on_step=lambda i, z: seen.append((i, z.clone()))
    )
    assert [i for i, _ in seen] == [1, 2, 3]
    assert torch.equal(seen[-1][1], out)
    assert torch.equal(model.denoise(seen[0][1], cond, 2, 3, 5), seen[1][1])


def test_cancel_stops_before_the_next_step(model: TinyT2V, cond: Tensor) -> None:
    done: list[int] = []
    with pytest.raises(Cancelled):
        model.denoise(
            model.init_latent(0), cond, 0, 8, 8,
            on_step=lambda i, _: done.append(i), cancelled=lambda: len(done) == 2,
        )  # fmt: skip
    assert done == [0, 1]


def test_a_loop_that_is_guided_at_first_only_can_be_cut_anywhere(
    model: TinyT2V, cond: Tensor
) -> None:
    z = model.init_latent(4)
    whole = model.denoise(z, cond, 0, 3, 4, 2.0, guided=2)
    for cut in (1, 2):
        part = model.denoise(z, cond, 0, cut, 4, 2.0, guided=2)
        assert torch.equal(model.denoise(part, cond, cut, 3, 4, 2.0, guided=2), whole)
    same = model.denoise(z, cond, 0, 2, 4, 2.0)
    assert torch.equal(model.denoise(z, cond, 0, 2, 4, 2.0, guided=2), same)
    plain = model.denoise(z, cond, 2, 3, 4, 1.0)
    assert torch.allclose(model.denoise(z, cond, 2, 3, 4, 9.0, guided=2), plain, atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "early"), [(0.0, 0.0), (1.0, 1.0), (1.5, 3.5), (2.0, 6.0), (3.0, 6.0), (9.0, 9.0)]
)
def test_guidance_is_stronger_while_the_layout_is_decided(asked: float, early: float) -> None:
    assert strength(asked, 0.0) == strength(asked, 0.19) == early
    assert strength(asked, 0.2) == strength(asked, 0.9) == asked


@pytest.mark.parametrize(
    ("start", "stop", "steps", "guidance"),
    [(0, 0, 5, 2.0), (3, 2, 5, 2.0), (-1, 2, 5, 2.0), (0, 6, 5, 2.0), (0, 1, 0, 2.0),
     (0, 1, 9999, 2.0), (0, 1, 5, -1.0), (0, 1, 5, float("nan"))],
)  # fmt: skip
def test_bad_ranges_are_refused(
    model: TinyT2V, cond: Tensor, start: int, stop: int, steps: int, guidance: float
) -> None:
    with pytest.raises(DenoiseRefused):
        model.denoise(model.init_latent(0), cond, start, stop, steps, guidance)


def test_bad_tensors_are_refused(model: TinyT2V, cond: Tensor) -> None:
    z = model.init_latent(0)
    with pytest.raises(DenoiseRefused):
        model.denoise(z[:4], cond, 0, 1, 2)
    with pytest.raises(DenoiseRefused):
        model.denoise(z, cond[:2], 0, 1, 2)
    with pytest.raises(DenoiseRefused):
        model.denoise(z, cond, 0, 1, 2, first_frame=torch.zeros(32, 32, 3, dtype=torch.uint8))
    with pytest.raises(DenoiseRefused):
        model.condition(torch.zeros(4, 100))
    with pytest.raises(DenoiseRefused):
        model.condition(torch.zeros(4, 384), torch.zeros(4, dtype=torch.bool))
    with pytest.raises(DenoiseRefused):
        model.decode(z[0])
    with pytest.raises(DenoiseRefused):
        model.denoise(torch.full_like(z, float("nan")), cond, 0, 1, 2)


def test_a_masked_token_does_not_count(model: TinyT2V) -> None:
    words = torch.randn(7, 384, generator=torch.Generator().manual_seed(8))
    mask = torch.tensor([True] * 5 + [False] * 2)
    changed = words.clone()
    changed[5:] = 9.0
    assert torch.equal(model.condition(words, mask), model.condition(changed, mask))


def test_frames_are_pictures(model: TinyT2V) -> None:
    frames = model.decode(model.init_latent(1))
    assert frames.shape == (16, 64, 64, 3)
    assert frames.dtype == torch.uint8


def test_velocity_recovers_the_straight_path() -> None:
    x, e = torch.randn(3, 5), torch.randn(3, 5)
    t = torch.tensor(0.3)
    d = t * t + (1 - t) ** 2
    f = ((1 - t) * x - t * e) / d.sqrt()
    assert torch.allclose(velocity(t * x + (1 - t) * e, t, f), x - e, atol=1e-5)
    at = times(20)
    assert at[0] == 0
    assert at[-1] == 1
    assert all(a < b for a, b in itertools.pairwise(at))


def _copy(folder: Path) -> Path:
    for suffix in (".safetensors", ".json"):
        shutil.copy(WEIGHTS.with_suffix(suffix), folder / f"w{suffix}")
    return folder / "w.safetensors"


def test_altered_truncated_or_missing_weights_are_refused(tmp_path: Path) -> None:
    path = _copy(tmp_path)
    good = path.read_bytes()
    altered = bytearray(good)
    altered[len(good) // 2] ^= 1
    for bad in (bytes(altered), good[:1000], b""):
        path.write_bytes(bad)
        with pytest.raises(WeightsDamaged):
            load("cpu", weights=path)
    with pytest.raises(WeightsDamaged):
        load("cpu", weights=tmp_path / "absent.safetensors")


def test_shipped_weights_fit_in_the_repository() -> None:
    assert WEIGHTS.stat().st_size <= 15_000_000


@pytest.mark.parametrize(
    "prompt",
    ["a big red ball bouncing on white", "Ein Füchslein, 🦊!", "x", "so many words " * 40],
)
def test_what_numpy_reads_of_a_prompt_is_what_the_model_reads(model: TinyT2V, prompt: str) -> None:
    wanted = model.condition(text_features(prompt)).numpy()
    found = PromptReader().condition(prompt)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_numpy_refuses_a_blank_prompt() -> None:
    with pytest.raises(PromptRefused):
        PromptReader().condition("  ")
