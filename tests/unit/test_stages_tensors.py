"""Features and latents: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from reelmesh.node.stages import StageFailed
from reelmesh.node.stages.encode_text import FEATURES_SPEC
from reelmesh.node.stages.tensors import (
    MAX_BYTES,
    exactly,
    read_tensors,
    tensor_bytes,
    write_tensors,
)

LATENT = {"latent": exactly(4, 3, 2)}


def test_round_trip_is_exact_and_repeatable(tmp_path: Path) -> None:
    latent = torch.randn(4, 3, 2)
    first = write_tensors(tmp_path / "a", {"latent": latent})
    again = write_tensors(tmp_path / "b", {"latent": latent.clone()})
    assert torch.equal(read_tensors(first, LATENT)["latent"], latent)
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    "tensors",
    [
        {"latent": torch.zeros(4, 3, 3)},
        {"latent": torch.zeros(4, 3)},
        {"latent": torch.zeros(4, 3, 2, dtype=torch.float16)},
        {"latent": torch.full((4, 3, 2), float("nan"))},
        {"latent": torch.full((4, 3, 2), float("inf"))},
        {"latent": torch.full((4, 3, 2), 1e9)},
        {"other": torch.zeros(4, 3, 2)},
        {"latent": torch.zeros(4, 3, 2), "more": torch.zeros(1)},
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "latent"
    path.write_bytes(save(tensors))
    with pytest.raises(StageFailed) as caught:
        read_tensors(path, LATENT)
    assert caught.value.reason == "bad_input"


def test_text_of_no_or_too_many_tokens_is_refused(tmp_path: Path) -> None:
    for tokens, good in ((0, False), (1, True), (64, True), (65, False)):
        path = write_tensors(tmp_path / str(tokens), {"features": torch.zeros(tokens, 384)})
        if good:
            assert read_tensors(path, FEATURES_SPEC)["features"].shape == (tokens, 384)
        else:
            with pytest.raises(StageFailed):
                read_tensors(path, FEATURES_SPEC)


def test_a_header_that_claims_the_world_is_refused(tmp_path: Path) -> None:
    head = json.dumps(
        {"latent": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    ).encode()
    path = tmp_path / "latent"
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(StageFailed):
        read_tensors(path, LATENT)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "latent"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(StageFailed, match="larger"):
        read_tensors(path, LATENT)


def test_trajectory_bytes_do_not_depend_on_memory_layout() -> None:
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    assert tensor_bytes(tensor) == tensor.numpy().tobytes()
    assert tensor_bytes(tensor.t().contiguous().t()) == tensor_bytes(tensor)
    assert len(tensor_bytes(torch.zeros(3, dtype=torch.uint8))) == 3
