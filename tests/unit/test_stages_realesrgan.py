"""Weights from ncnn files, and the sizes that enlarging goes through."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from reelmesh.node.stages.enlarge import enlarge, pad_to_shape, passes
from reelmesh.node.stages.ncnn import BadWeights, Convolution, PRelu, read_layers
from reelmesh.node.stages.realesrgan import RealEsrgan, load_network, weights_folder

HEAD = "7767517\n2 2\n"
CONV = "Convolution c 1 1 a b 0=1 1=3 4=1 5=1 6=9\n"


def test_reads_half_and_single_precision() -> None:
    values = np.arange(9, dtype="<f2")
    half = struct.pack("<I", 0x01306B47) + values.tobytes() + b"\0\0" + struct.pack("<f", 0.5)
    full = struct.pack("<I", 0) + values.astype("<f4").tobytes() + struct.pack("<f", 0.5)
    for data in (half, full):
        (layer,) = read_layers(HEAD + CONV, data)
        assert isinstance(layer, Convolution)
        assert layer.weight.reshape(-1).tolist() == values.tolist()
        assert layer.bias.tolist() == [0.5]


def test_reads_slopes() -> None:
    (layer,) = read_layers(HEAD + "PReLU p 1 1 a b 0=2\n", struct.pack("<ff", 0.25, -1))
    assert isinstance(layer, PRelu)
    assert layer.slope.tolist() == [0.25, -1]


@pytest.mark.parametrize(
    ("param", "data"),
    [
        ("not ncnn", b""),
        (HEAD + CONV, b""),
        (HEAD + CONV, struct.pack("<I", 7) + bytes(40)),
        (HEAD + CONV, struct.pack("<I", 0) + bytes(41)),
        (HEAD + CONV.replace("1=3", "1=5"), struct.pack("<I", 0) + bytes(40)),
        (HEAD + CONV.replace("6=9", "6=-9"), struct.pack("<I", 0) + bytes(40)),
        (HEAD + CONV.replace("6=9", "6=99999999999"), struct.pack("<I", 0) + bytes(40)),
        (HEAD + CONV.replace("6=9", "6=x"), struct.pack("<I", 0) + bytes(40)),
    ],
)
def test_damaged_weights_are_refused(param: str, data: bytes) -> None:
    with pytest.raises(BadWeights):
        read_layers(param, data)


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    for path in weights_folder().glob("realesr-animevideov3-x4.*"):
        shutil.copy(path, tmp_path)
    weights = tmp_path / "realesr-animevideov3-x4.bin"
    data = bytearray(weights.read_bytes())
    data[1000] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BadWeights, match="not the released file"):
        load_network(torch.device("cpu"), torch.float32, tmp_path)
    weights.unlink()
    with pytest.raises(BadWeights, match="cannot read"):
        load_network(torch.device("cpu"), torch.float32, tmp_path)


@pytest.mark.parametrize(
    ("source", "target", "sizes"),
    [
        ((64, 64), (256, 256), [(256, 256)]),
        ((64, 64), (128, 192), [(128, 192)]),
        ((64, 64), (512, 512), [(128, 128), (512, 512)]),
        ((64, 64), (1024, 1024), [(256, 256), (1024, 1024)]),
        ((16, 16), (1024, 1024), [(64, 64), (256, 256), (1024, 1024)]),
    ],
)
def test_passes(
    source: tuple[int, int], target: tuple[int, int], sizes: list[tuple[int, int]]
) -> None:
    assert passes(source, target) == sizes


def test_a_wider_target_repeats_the_edges() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert pad_to_shape(x, 4, 8)[0, 0].tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert pad_to_shape(x, 8, 4).shape == (1, 1, 4, 2)
    assert pad_to_shape(x, 512, 512) is x


@pytest.fixture(scope="module")
def network() -> RealEsrgan:
    return load_network(torch.device("cpu"), torch.float32)


def _disc(side: int) -> torch.Tensor:
    ys, xs = np.mgrid[0:side, 0:side] / side + 0.5 / side
    cover = np.clip((0.3 - np.hypot(xs - 0.45, ys - 0.55)) * side + 0.5, 0, 1)[..., None]
    picture = cover * (230, 60, 40) + (1 - cover) * (30, 40, 90)
    return torch.from_numpy(np.rint(picture).astype(np.uint8))


def _centre_and_blur(picture: torch.Tensor) -> tuple[float, float, float]:
    """The disc's centre as shares of the side, and the share of pixels on its soft edge."""
    red = (picture[..., 0].double() - 30) / 200
    ys, xs = torch.meshgrid(*(torch.arange(0.5, n) / n for n in red.shape), indexing="ij")
    soft = ((red > 0.15) & (red < 0.85)).double().mean()
    return float((red * xs).sum() / red.sum()), float((red * ys).sum() / red.sum()), float(soft)


@pytest.mark.parametrize("side", [64, 128, 256, 512])
def test_an_enlarged_disc_stays_in_place_and_gets_a_sharp_edge(
    network: RealEsrgan, side: int
) -> None:
    small, truth = _disc(32), _disc(side).float()
    bicubic = torch.nn.functional.interpolate(
        small.permute(2, 0, 1)[None].float(), size=(side, side), mode="bicubic"
    )[0].permute(1, 2, 0)
    large = enlarge(network, small[None], side, side)
    assert large.shape == (1, side, side, 3)
    assert large.dtype == torch.uint8
    assert (large[0].float() - truth).abs().mean() < 4
    x, y, soft = _centre_and_blur(large[0])
    assert (x, y) == pytest.approx(_centre_and_blur(truth)[:2], abs=0.01)
    if side > 128:
        assert soft < 0.6 * _centre_and_blur(bicubic)[2]


def test_the_same_bits_for_any_number_of_threads(network: RealEsrgan) -> None:
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(enlarge(network, _disc(32)[None], 128, 128))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
