"""The stages' arithmetic on a CUDA device, against the CPU. Needs no PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

from reelmesh.node.stages.base import StageContext  # noqa: E402
from reelmesh.node.stages.encode_text import FEATURES_SPEC, EncodeText  # noqa: E402
from reelmesh.node.stages.enlarge import arithmetic, enlarge  # noqa: E402
from reelmesh.node.stages.realesrgan import load_network, weights_folder  # noqa: E402
from reelmesh.node.stages.skeleton import Skeleton  # noqa: E402
from reelmesh.node.stages.tensors import read_tensors  # noqa: E402
from reelmesh.node.stages.torch_setup import prepare_torch  # noqa: E402

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    prepare_torch(2)
    yield
    torch.use_deterministic_algorithms(False)


def test_the_device_is_found() -> None:
    pytest.importorskip("psutil")
    from reelmesh.node.worker.device import choose, find_devices

    device = choose(find_devices(), "auto")
    assert device.torch_name == "cuda:0"
    assert device.memory_mb > 1000
    assert device.device_class.startswith("cuda-sm")


def test_enlarging_agrees_with_the_cpu_and_repeats() -> None:
    try:
        weights_folder()
    except Exception as error:
        pytest.skip(str(error))
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=generator)
    assert arithmetic(CUDA) == torch.float16
    network = load_network(CUDA, arithmetic(CUDA))
    there = enlarge(network, pictures, 512, 512)
    assert torch.equal(there, enlarge(network, pictures, 512, 512))
    here = enlarge(load_network(CPU, torch.float32), pictures, 512, 512)
    difference = (there.float() - here.float()).abs()
    assert difference.mean() < 0.5
    assert (difference > 6).double().mean() < 0.001


def _latent(device: torch.device, folder: Path) -> torch.Tensor:
    folder.mkdir()
    context = StageContext(device, folder)
    text, skeleton = EncodeText(), Skeleton()
    text.load(device)
    skeleton.load(device)
    prompt = SimpleNamespace(prompt="a big red ball bouncing over a white background")
    features = text.run(prompt, {}, context)["features"]
    assert read_tensors(features, FEATURES_SPEC)["features"].device == CPU
    steps = SimpleNamespace(seed=3, start=0, stop=20, steps=20, guidance=3.0)
    latent = skeleton.run(steps, {"features": features}, context)["latent"]
    assert len(context.trajectory) == 21
    return read_tensors(latent, skeleton.latent_spec())["latent"]


def test_text_to_latent_repeats_and_agrees_with_the_cpu(tmp_path: Path) -> None:
    first = _latent(CUDA, tmp_path / "first")
    assert torch.equal(first, _latent(CUDA, tmp_path / "second"))
    here = _latent(CPU, tmp_path / "cpu")
    assert (first - here).norm() / here.norm() < 0.02


def test_decoding_agrees_with_the_cpu(tmp_path: Path) -> None:
    from reelmesh.node.stages import tiny_t2v

    latent = _latent(CPU, tmp_path / "cpu")
    here = tiny_t2v.load(CPU).decode(latent).float()
    there = tiny_t2v.load(CUDA).decode(latent.to(CUDA)).float()
    assert (here - there).abs().mean() < 0.5


def test_a_lack_of_device_memory_is_recognised() -> None:
    pytest.importorskip("psutil")
    from reelmesh.node.worker.memory import needed_mb, ran_out

    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(1 << 45, dtype=torch.uint8, device=CUDA)
    assert ran_out(caught.value)
    assert needed_mb(caught.value, 0) > 1 << 20
