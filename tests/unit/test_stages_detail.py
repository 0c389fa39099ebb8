"""Enlarging only what has detail: as dense work makes it, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.detail import Detailer, boxes_of_detail
from reelmesh.node.stages.enlarge import enlarge
from reelmesh.node.stages.frames import write_frames
from reelmesh.node.stages.realesrgan import RealEsrgan, load_network
from reelmesh.node.stages.upscale import Upscale
from reelmesh.scheduler.stages import entry, parse_params
from reelmesh.scheduler.stages.upscale import SPARSE

SIZE = {"start": 0, "stop": 1, "width": 256, "height": 256}


@pytest.fixture(scope="module")
def network() -> RealEsrgan:
    return load_network(torch.device("cpu"), torch.float32)


def drawn(*centres: tuple[int, int], radius: int = 7, noise: float = 0.5) -> Any:
    """Discs on a plain ground at 64x64, with a decoder's faint noise."""
    ys, xs = np.mgrid[0:64, 0:64]
    picture = np.full((64, 64, 3), (30.0, 40, 90))
    for x, y in centres:
        cover = np.clip(radius - np.hypot(xs - x, ys - y), 0, 1)[..., None]
        picture += cover * ((230, 60, 40) - picture)
    picture += np.random.default_rng(2).normal(0, noise, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def dense(network: RealEsrgan, picture: Any, height: int, width: int) -> Any:
    return enlarge(network, torch.from_numpy(picture[None]), height, width)[0].numpy().astype(int)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (512, 512), (256, 448)])
def test_it_looks_like_dense_work(network: RealEsrgan, height: int, width: int) -> None:
    picture, detailer = drawn((30, 34)), Detailer(network)
    made, boxes = detailer.enlarge(picture, height, width)
    error = np.abs(made.astype(int) - dense(network, picture, height, width))
    assert error.mean() < 1.5  # of which most is noise that dense work amplifies
    assert error.max() < 10
    assert boxes
    assert detailer.share < 0.5


def test_no_edge_of_a_box_shows(network: RealEsrgan) -> None:
    made, (box,) = Detailer(network).enlarge(drawn((30, 34), noise=0), 256, 256)
    left, top, right, bottom = (4 * side for side in box)
    around = made[top - 20 : bottom + 20, left - 20 : right + 20].astype(int)
    for side in (around[:36], around[-36:], around[:, :36], around[:, -36:]):
        assert max(np.abs(np.diff(side, axis=axis)).max() for axis in (0, 1)) <= 2


def test_what_is_plain_is_not_computed_and_has_the_colour_of_dense_work(
    network: RealEsrgan,
) -> None:
    for colour in ((30, 40, 90), (128, 128, 128), (250, 220, 40)):
        detailer = Detailer(network)
        picture = np.full((64, 64, 3), colour, np.uint8)
        made, boxes = detailer.enlarge(picture, 256, 256)
        assert boxes == []
        assert detailer.share == 0
        inside = dense(network, picture, 256, 256)[80:-80, 80:-80]
        assert np.abs(made[80:-80, 80:-80] - inside.mean(axis=(0, 1))).max() < 1.5


def test_a_textured_picture_is_dense_work(network: RealEsrgan) -> None:
    texture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    detailer = Detailer(network)
    made, boxes = detailer.enlarge(texture, 256, 256)
    assert boxes == [(0, 0, 64, 64)]
    assert detailer.share == 1
    assert np.abs(made.astype(int) - dense(network, texture, 256, 256)).max() <= 1


def test_boxes_stand_around_all_that_is_seen() -> None:
    picture = drawn((12, 12), (50, 50), radius=4).astype(np.float32) / 255
    boxes = boxes_of_detail(picture)
    assert len(boxes) == 2
    assert all(box[2] - box[0] < 28 for box in boxes)
    near = boxes_of_detail(drawn((24, 30), (38, 30), radius=4).astype(np.float32) / 255)
    assert len(near) == 1


def test_the_same_bits_for_any_number_of_threads(network: RealEsrgan) -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        made = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            made.append(Detailer(network).enlarge(drawn((30, 34)), 512, 512)[0])
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    assert (made[0] == made[1]).all()


def test_what_was_computed_is_attested_to(tmp_path: Path) -> None:
    stage, source = Upscale(), write_frames(tmp_path / "in.mkv", drawn((30, 34))[None])
    stage.load(torch.device("cpu"))
    seen = []
    for number, how in enumerate(({}, {"sparse": True}, {"sparse": True})):
        (tmp_path / str(number)).mkdir()
        context = StageContext(torch.device("cpu"), tmp_path / str(number))
        out = stage.run(parse_params("upscale", SIZE | how), {"frames": source}, context)
        seen.append((context.trajectory, out["frames"].read_bytes()))
    assert seen[1] == seen[2]
    assert seen[0][0] != seen[1][0]
    assert len(seen[1][0]) == 1


def test_the_parameter_is_left_out_where_all_is_computed() -> None:
    plain, said = parse_params("upscale", SIZE), parse_params("upscale", {**SIZE, "sparse": False})
    assert plain == said
    assert plain.model_dump(mode="json") == SIZE
    sparse = parse_params("upscale", {**SIZE, "sparse": True})
    assert parse_params("upscale", sparse.model_dump(mode="json")) == sparse
    units = entry("upscale").units
    assert units(sparse) == pytest.approx(SPARSE * units(plain))
