"""The viewer page: found in a video's file, safe with any title, and drawn by a real browser."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from browser import find_browser, open_page

from reelmesh.node.layered import NoLayers, box_header, read_layers
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.encode_video import EncodeVideo
from reelmesh.node.stages.frames import write_frames
from reelmesh.node.stages.view_layers import layers
from reelmesh.node.viewer.page import make_page
from reelmesh.scheduler.camera import orbit
from reelmesh.scheduler.stages import parse_params

PATH = orbit(-15, 15, 1.0)
SIDE = 64


def film(folder: Path, left: int = 20, near: float = 1.0) -> bytes:
    """A red square, near, before stripes, far: one second of layers."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[:, ::8] = (60, 160, 220)
    frame[20:44, left : left + 24] = (230, 40, 30)
    depth = torch.zeros(SIDE, SIDE)
    depth[20:44, left : left + 24] = near
    frames = write_frames(folder / "layers.mkv", np.repeat(layers(frame, depth)[None], 12, axis=0))
    size = {"width": 2 * SIDE, "height": 2 * SIDE}
    params = parse_params("encode_video", {"fps": 12, "crf": 20, "frames": 12, **size})
    context = StageContext(torch.device("cpu"), folder)
    return EncodeVideo().run(params, {"frames": frames}, context)["segment"].read_bytes()


def test_layers_lie_apart_what_is_near_and_what_is_behind(tmp_path: Path) -> None:
    frame = np.full((SIDE, SIDE, 3), 40, np.uint8)
    frame[20:44, 20:44] = 240
    depth = torch.zeros(SIDE, SIDE)
    depth[20:44, 20:44] = 1.0
    made = layers(frame, depth)
    assert made.shape == (2 * SIDE, 2 * SIDE, 3)
    assert np.array_equal(made[:SIDE, :SIDE], frame)
    assert made[:SIDE, SIDE:].max() < 70  # the square is gone from what lies behind
    assert (made[SIDE + 32, 32] > 220).all()
    assert (made[SIDE:, SIDE:] < 45).all()


def test_layers_are_found_again_behind_any_boxes(tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    plain = b"\0\0\0\x0cftypisom" + b"\0\0\0\x01mdat" + (24).to_bytes(8, "big") + b"12345678"
    file.write_bytes(plain + box_header(5) + b"hello")
    assert read_layers(file) == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\x08free" * 3,
        b"\xff" * 64,
        b"\0\0\0\x01uuid" + b"\xff" * 40,
        box_header(1 << 40) + b"x",
        b"\0\0\0\x00mdat" * 9000,
        b"\0\0\0\x08uuid" + box_header(0)[16:] + bytes(99),  # too short for its own mark
    ],
)
def test_a_file_without_layers_is_refused_plainly(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(data)
    with pytest.raises(NoLayers):
        read_layers(file)


def test_nothing_in_the_page_comes_from_elsewhere_and_a_title_is_only_text() -> None:
    title = "</title><script>alert(1)</script>@@LAYERS@@"
    page = make_page(b"data", PATH, 1.0, title).decode()
    assert "<script>alert" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert page.count("ZGF0YQ==") == 1


@pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed here")
async def test_a_person_drags_and_the_near_thing_moves_against_what_is_behind(
    tmp_path: Path,
) -> None:
    file = tmp_path / "film.html"
    file.write_bytes(make_page(film(tmp_path), PATH, 1.0, "a <red> square"))
    where = "document.getElementById('where').textContent"
    async with open_page(find_browser() or "", file) as page:
        await page.until("Number(document.body?.dataset.drawn || 0) > 1")
        await page.ask("video.pause()")
        x, y, width = await page.ask(
            "(b => [b.x + b.width / 2, b.y + b.height / 2, b.width])"
            "(canvas.getBoundingClientRect())"
        )
        places = []
        for by in (-1.2, 1.2):
            await page.drag(x, y, width * by, 0)
            drawn = await page.ask("document.body.dataset.drawn")
            await page.until(f"Number(document.body.dataset.drawn) > {drawn} + 1")
            picture = (await page.picture("#view")).astype(int)
            red = (picture[..., 0] > 150) & (picture[..., 1] < 110) & (picture[..., 2] < 110)
            assert red.mean() > 0.02
            places.append(np.argwhere(red)[:, 1].mean() / picture.shape[1])
            # It stops at the end of the range.
            assert (await page.ask(where)).split("°")[0] in {"30", "-30"}
        assert places[0] < places[1] - 0.05
        await page.ask("document.getElementById('path').click()")
        await page.until("document.getElementById('path').getAttribute('aria-pressed') === 'true'")
        errors = [told for told in page.told if told["method"] == "Runtime.exceptionThrown"]
        assert not errors


@pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed here")
async def test_a_near_thing_at_the_border_goes_on_beyond_it(tmp_path: Path) -> None:
    file = tmp_path / "film.html"
    file.write_bytes(make_page(film(tmp_path, left=0, near=0.4), PATH, 1.0, "at the border"))
    async with open_page(find_browser() or "", file) as page:
        await page.until("Number(document.body?.dataset.drawn || 0) > 1")
        await page.ask("video.pause(), Object.assign(camera, {yaw: 15, pitch: 0, free: true}), 1")
        drawn = await page.ask("document.body.dataset.drawn")
        await page.until(f"Number(document.body.dataset.drawn) > {drawn} + 1")
        picture = (await page.picture("#view")).astype(int)
    middle = picture[len(picture) // 2]
    red = (middle[:, 0] > 150) & (middle[:, 1] < 110) & (middle[:, 2] < 110)
    assert red[:3].all()
    assert red.mean() > 0.4  # more than the 24 columns of 64 that the footage has
