"""Tiles: made apart they are what is made whole, and what is left out changes nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reelmesh.node.stages import StageFailed
from reelmesh.node.stages.background import plain_colour, smoothed, widened
from reelmesh.node.stages.join_tiles import joined
from reelmesh.node.stages.painting import Faithful, Painter, Window
from reelmesh.node.stages.realesrgan import load_network
from reelmesh.node.stages.sparse import plan_work
from reelmesh.node.stages.tiles import TileWriter
from reelmesh.node.stages.upscale_tile import window
from reelmesh.scheduler.sizes import REACH, is_first_size, tile_box, tile_counts, tile_cuts
from reelmesh.scheduler.stages import parse_params

Image = NDArray[np.uint8]
WIDTH, HEIGHT = 310, 134  # four divides neither


@pytest.fixture(scope="module")
def network() -> Faithful:
    return Faithful(load_network(torch.device("cpu"), torch.float32))


def disc(width: int, height: int, x: float, *, noise: int = 0) -> Image:
    ys, xs = np.mgrid[0:height, 0:width]
    cover = np.clip(height * 0.25 - np.hypot(xs - x, ys - height / 2) + 0.5, 0, 1)[..., None]
    picture = cover * (230, 60, 40) + (1 - cover) * (30, 40, 90)
    grain = np.random.default_rng(1).integers(-noise, noise + 1, picture.shape)
    return np.clip(np.rint(picture) + grain, 0, 255).astype(np.uint8)


def params(tile: int, columns: int, rows: int, *, sparse: bool = True) -> Any:
    grid = {"width": WIDTH, "height": HEIGHT, "columns": columns, "rows": rows}
    return parse_params(
        "upscale_tile", {**grid, "start": 0, "stop": 1, "tile": tile, "sparse": sparse}
    )


def painted(network: Faithful, picture: Image, tile: int, columns: int, rows: int) -> Image:
    where = window(params(tile, columns, rows))
    return Painter(network, where, sparse=False).paint(picture)[0]


def furthest(a: Image, b: Image) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("noise", [0, 40])
def test_tiles_joined_are_the_whole(network: Faithful, noise: int) -> None:
    small = disc(78, 34, 40, noise=noise)
    whole = painted(network, small, 0, 1, 1)
    assert whole.shape == (HEIGHT, WIDTH, 3)
    out = np.zeros_like(whole)
    for tile in range(6):
        box = tile_box(WIDTH, HEIGHT, 3, 2, tile)
        left, top, right, bottom = tile_box(WIDTH, HEIGHT, 3, 2, tile, overlap=0)
        part = painted(network, small, tile, 3, 2)
        assert part.shape == (box[3] - box[1], box[2] - box[0], 3)
        out[top:bottom, left:right] = part[
            top - box[1] : bottom - box[1], left - box[0] : right - box[0]
        ]
    assert furthest(out, whole) <= 1


def test_what_is_left_out_is_what_would_have_been_made(network: Faithful) -> None:
    clip = [disc(160, 90, x) for x in (40, 40, 44, 100)]
    where = Window((0, 0, 160, 90))
    dense, sparse = (Painter(network, where, sparse=s) for s in (False, True))
    shares = []
    for picture in clip:
        whole, (part, work) = dense.paint(picture)[0], sparse.paint(picture)
        assert furthest(whole, part) <= 1
        shares.append(float(work.done.mean()))
    assert shares[1] == 0  # nothing moved
    assert 0 < shares[0] < 0.9
    assert dense.share == 1
    assert sparse.share < 0.7


def test_noise_is_computed_everywhere() -> None:
    seen = np.random.default_rng(2).integers(0, 256, (90 + 2 * REACH, 160 + 2 * REACH, 3), np.uint8)
    work = plan_work(seen, None, sparse=True)
    assert work.boxes == [(0, 0, 160, 90)]
    assert not work.flat


def test_the_network_keeps_colours(network: Faithful) -> None:
    plain = np.full((24, 24, 3), (40, 180, 60), np.uint8)
    large = Painter(network, Window((0, 0, 24, 24)), sparse=True).paint(plain)[0]
    assert furthest(large, np.full_like(large, plain[0, 0])) <= 3


def test_tiles_that_were_written_are_put_together(tmp_path: Path) -> None:
    picture = disc(640, 264, 300)
    grid = {"width": 640, "height": 264, "columns": 2, "rows": 2, "frames": 2}
    inputs = {}
    for tile in range(4):
        left, top, right, bottom = tile_box(640, 264, 2, 2, tile)
        inputs[f"tile-{tile}"] = path = tmp_path / f"{tile}.mkv"
        with TileWriter(path, right - left, bottom - top) as writer:
            for _ in range(2):
                writer.write(np.ascontiguousarray(picture[top:bottom, left:right]))
    whole = tmp_path / "whole.mkv"
    with TileWriter(whole, 640, 264) as writer:
        for _ in range(2):
            writer.write(picture)
    apart = [planes.copy() for planes in joined(SimpleNamespace(**grid), inputs)]
    alone = SimpleNamespace(**{**grid, "columns": 1, "rows": 1})
    once = [planes.copy() for planes in joined(alone, {"tile-0": whole})]
    assert len(apart) == len(once) == 2
    assert np.abs(apart[0].astype(int) - once[0]).max() <= 4  # the coding's own error
    assert np.abs(apart[0].astype(int) - once[0]).mean() < 0.1
    with pytest.raises(StageFailed, match="has pictures of"):
        list(joined(SimpleNamespace(**grid), {**inputs, "tile-3": whole}))


def test_an_object_at_the_edge_is_not_drawn_out() -> None:
    picture = np.full((64, 64, 3), (20, 30, 110), np.uint8)
    picture[20:40, 50:] = (230, 40, 30)
    plain = plain_colour(picture[None])
    assert plain is not None
    wide = widened(picture, 114, 64, plain)
    assert (wide[:, :25] == picture[0, 0]).all()
    assert (wide[:, 89:] == picture[0, 0]).all()
    assert (wide[:, 25:89] == picture).all()
    noisy = picture + np.random.default_rng(1).integers(-2, 3, picture.shape).astype(np.uint8)
    assert (smoothed(noisy, plain)[:20] == picture[:20]).all()


def test_a_photograph_has_no_plain_background() -> None:
    noise = np.random.default_rng(4).integers(0, 256, (3, 32, 32, 3), np.uint8)
    assert plain_colour(noise) is None
    assert (widened(noise[0], 40, 32, None)[:, 0] == noise[0][:, 0]).all()


def test_how_a_size_is_cut() -> None:
    assert tile_counts(3840, 2160) == (3, 2)
    assert tile_counts(1024, 1024) == (1, 1)
    for length, count in ((3840, 3), (854, 2), (130, 2)):
        cuts = tile_cuts(length, count)
        assert cuts[0] == 0
        assert cuts[-1] == length
        assert cuts == sorted(set(cuts))
        assert not any(n % 8 for n in cuts[:-1])
    assert is_first_size(512, 1024)
    assert not is_first_size(128, 512)
    assert not is_first_size(1920, 1080)
