"""The same model on a GPU: repeatable there, and within an auditor's tolerance of the CPU."""

from __future__ import annotations

import pytest
import torch

from reelmesh.node.stages.tiny_t2v import load

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

WORDS = torch.randn(9, 384, generator=torch.Generator().manual_seed(1))


def test_a_step_agrees_with_the_cpu() -> None:
    cpu, gpu = load("cpu"), load("cuda")
    assert torch.equal(cpu.init_latent(3), gpu.init_latent(3).cpu())
    cond_cpu, cond_gpu = cpu.condition(WORDS), gpu.condition(WORDS)
    assert torch.allclose(cond_cpu, cond_gpu.cpu(), atol=2e-3)
    z, worst = cpu.init_latent(3), 0.0
    for i in range(20):
        after = cpu.denoise(z, cond_cpu, i, i + 1)
        again = gpu.denoise(z.cuda(), cond_cpu.cuda(), i, i + 1).cpu()
        worst = max(worst, float((after - again).norm() / (after - z).norm()))
        z = after
    print(f"largest relative difference of one step: {worst:.2e}")
    assert worst < 1e-3
    frames, seen = cpu.decode(z).float(), gpu.decode(z.cuda()).float()
    assert float((frames - seen).abs().max()) <= 2


def test_the_gpu_repeats_itself_whole_and_split() -> None:
    model = load("cuda")
    cond = model.condition(WORDS)
    whole = model.denoise(model.init_latent(5), cond)
    half = model.denoise(model.init_latent(5), cond, 0, 9)
    assert torch.equal(model.denoise(half.cpu().clone(), cond, 9, 20), whole)
    assert torch.equal(model.denoise(model.init_latent(5), cond), whole)


def test_half_precision_runs() -> None:
    model = load("cuda", torch.bfloat16)
    z = model.denoise(model.init_latent(5), model.condition(WORDS), 0, 4, 4)
    assert bool(torch.isfinite(z).all())
