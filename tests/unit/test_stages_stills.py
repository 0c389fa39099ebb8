"""A buyer's picture: turned upright, over white, eight bits; and whatever is wrong said plainly."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reelmesh.node.stages import StageFailed
from reelmesh.node.stages.encode_image import SIZE, fit
from reelmesh.node.stages.hdr import nits_to_pq
from reelmesh.node.stages.still_header import shape_of, still_size
from reelmesh.node.stages.stills import read_still, upright
from reelmesh.scheduler.sizes import box


def quarters(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """RGB: red and green above, blue and white below."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = 255
    return picture


def coded(ending: str, picture: NDArray[np.generic], flags: list[int] | None = None) -> bytes:
    channels = picture[..., ::-1] if picture.ndim == 3 and picture.shape[2] == 3 else picture
    ok, data = cv2.imencode(ending, np.ascontiguousarray(channels), flags or [])
    assert ok
    return data.tobytes()


def exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(order + "IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0" + tiff + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def stored(folder: Path, data: bytes) -> Path:
    path = folder / "picture"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
def test_each_format_is_read_with_its_size(tmp_path: Path, ending: str) -> None:
    data = coded(ending, quarters())
    assert still_size(data) == shape_of(data) == (60, 40)
    found = read_still(stored(tmp_path, data))
    assert found.shape == (40, 60, 3)
    assert np.abs(found[10, 10].astype(int) - (255, 0, 0)).max() < 40
    assert np.abs(found[30, 10].astype(int) - (0, 0, 255)).max() < 40


def test_lossless_webp_is_read_with_its_size() -> None:
    assert still_size(coded(".webp", quarters(), [cv2.IMWRITE_WEBP_QUALITY, 101])) == (60, 40)


# Where the stored picture's red corner is seen once upright: (row, column) from the top left.
@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, 1)), (3, (1, 1)), (4, (1, 0)),
     (5, (0, 0)), (6, (0, 1)), (7, (1, 1)), (8, (1, 0))],
)  # fmt: skip
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_turned_photograph_comes_upright(
    tmp_path: Path, orientation: int, corner: tuple[int, int], order: str
) -> None:
    data = exif(coded(".jpg", quarters()), orientation, order)
    found = read_still(stored(tmp_path, data))
    height, width = (40, 60) if orientation < 5 else (60, 40)
    assert found.shape[:2] == (height, width)
    assert shape_of(data) == (width, height)
    seen = found[height // 4 + corner[0] * height // 2, width // 4 + corner[1] * width // 2]
    assert np.abs(seen.astype(int) - (255, 0, 0)).max() < 40


def test_mirrored_orientations_are_the_standards() -> None:
    picture = quarters()
    assert np.array_equal(upright(picture, 5), picture.transpose(1, 0, 2))
    assert np.array_equal(upright(picture, 4), picture[::-1])


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    alpha = np.full((8, 8, 4), (0, 0, 200, 0), np.uint8)
    alpha[:, 4:, 3] = 128
    found = read_still(stored(tmp_path, coded(".png", alpha)))
    assert tuple(found[0, 0]) == (255, 255, 255)
    assert np.abs(found[0, 6].astype(int) - (227, 127, 127)).max() <= 1


def test_sixteen_bits_and_grey_are_taken(tmp_path: Path) -> None:
    deep = np.full((6, 9, 3), (0x1234, 0x8000, 0xFFFF), np.uint16)
    assert tuple(read_still(stored(tmp_path, coded(".png", deep)))[0, 0]) == (0x12, 0x80, 0xFF)
    grey = np.full((6, 9), 77, np.uint8)
    assert tuple(read_still(stored(tmp_path, coded(".png", grey)))[0, 0]) == (77, 77, 77)


@pytest.mark.parametrize("transfer", [16, 18])
def test_an_hdr_picture_keeps_its_tones(tmp_path: Path, transfer: int) -> None:
    row = nits_to_pq(np.float32([0, 1, 10, 26, 50, 100, 203, 400, 1000]))  # type: ignore[arg-type]
    deep = np.repeat((row * 65535).astype(np.uint16)[None, :, None], 3, axis=2)
    png = coded(".png", np.repeat(deep, 8, axis=0))
    chunk = b"cICP" + bytes([9, transfer, 0, 1])
    told = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    tones = read_still(stored(tmp_path, png[:33] + told + png[33:]))[4, :, 1].astype(int)
    assert (np.diff(tones) > 2).all()
    if transfer == 16:
        assert 95 < tones[3] < 125
        assert 210 < tones[6] < 245


def bomb(width: int, height: int) -> bytes:
    """A tiny PNG that claims to be enormous."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"GIF89a" + bytes(50), "no PNG, JPEG or WebP"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "no PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0", "cut short"),
        (b"\xff\xd8\xff\xda", "damaged"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "cut short"),
        (bomb(60000, 60000), "60000x60000"),
        (bomb(10000, 10000), "50 megapixels"),
        (bomb(0, 5), "0x5"),
        (bomb(5, 5), "damaged"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(StageFailed, match=says) as caught:
        read_still(stored(tmp_path, data))
    assert caught.value.reason == "bad_input"
    assert "\n" not in caught.value.message
    assert "PNG, JPEG or WebP" in caught.value.hint


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_picture_cut_short_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    data = coded(ending, noise)
    with pytest.raises(StageFailed) as caught:
        read_still(stored(tmp_path, data[: int(share * len(data))]))
    assert caught.value.reason == "bad_input"


def test_the_box_has_the_videos_shape() -> None:
    assert box(512, 512, 256) == (256, 256)
    assert box(512, 320, 256) == (256, 160)
    assert box(256, 1024, 64) == (16, 64)


@pytest.mark.parametrize("shape", [(40, 60), (600, 400), (1, 1), (3, 2000)])
def test_a_picture_is_fitted_whole_into_the_square(shape: tuple[int, int]) -> None:
    found = fit(np.full((*shape, 3), 90, np.uint8), 512, 320)
    assert found.shape == (SIZE, SIZE, 3)
    assert np.abs(found.astype(int) - 90).max() <= 1


def test_edges_are_repeated_around_a_picture_of_another_shape() -> None:
    found = fit(quarters(256, 128), 512, 512)
    assert tuple(found[50, 2]) == tuple(found[50, 64]) == (255, 0, 0)
    assert tuple(found[50, -2]) == (0, 255, 0)
