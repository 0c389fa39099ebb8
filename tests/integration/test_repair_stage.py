"""A repaired latent is new where it was asked to be, and the same bits elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reelmesh.node.stages import load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.tensors import read_tensors, write_tensors
from reelmesh.node.stages.tiny_stage import TinyModelStage
from reelmesh.node.stages.torch_setup import prepare_torch
from reelmesh.scheduler.stages import parse_params

CPU = torch.device("cpu")


@pytest.mark.parametrize("span", [(2, 4), (0, 1), (7, 8), (0, 8)])
def test_only_the_asked_chunks_change(tmp_path: Path, span: tuple[int, int]) -> None:
    prepare_torch(1)
    stage = load_stage("repair")
    stage.load(CPU)
    assert isinstance(stage, TinyModelStage)
    known = torch.randn(stage.model.latent_shape, generator=torch.Generator().manual_seed(5))
    words = torch.randn(6, 384, generator=torch.Generator().manual_seed(6))
    inputs = {
        "latent": write_tensors(tmp_path / "known.safetensors", {"latent": known}),
        "features": write_tensors(tmp_path / "features.safetensors", {"features": words}),
    }
    first, end = span
    asked = {"seed": 9, "steps": 4, "guidance": 2.0, "first": first, "end": end}
    params = parse_params("repair", asked)
    results = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        ctx = StageContext(CPU, folder)
        results.append(stage.run(params, inputs, ctx)["latent"])
        assert len(ctx.trajectory) == 4
    assert results[0].read_bytes() == results[1].read_bytes()
    made = read_tensors(results[0], stage.latent_spec())["latent"]
    same = [bool(torch.equal(made[c], known[c])) for c in range(len(known))]
    assert same == [not first <= c < end for c in range(len(known))]
