"""A contact sheet shows what is in the videos, and fits where it is put."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from scripts.contact_sheet import LINE, Row, save, sheet, spread


def video(path: Path, frames: int) -> Path:
    """Frame i is grey of level 10 i."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=24, options={"qp": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "rgb24"
        for i in range(frames):
            level = np.full((32, 32, 3), 10 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("count", "levels"), [(1, [0]), (2, [0, 90]), (4, [0, 30, 60, 90]), (20, [*range(0, 100, 10)])]
)
def test_frames_are_spread_from_the_first_to_the_last(
    tmp_path: Path, count: int, levels: list[int]
) -> None:
    frames = spread(video(tmp_path / "a.mp4", 10), count)
    assert [int(frame[0, 0, 0]) for frame in frames] == levels


def test_rows_of_different_shapes_share_a_sheet(tmp_path: Path) -> None:
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    tall = np.zeros((30, 10, 3), np.uint8)
    page = sheet([Row("red → red", [red, red]), Row("tall", [tall])], width=204)
    assert page.shape == (LINE + 50 + 4 + LINE + 612 + 4, 204, 3)
    assert (page[LINE + 10, 10] == (255, 0, 0)).all()
    assert page[:LINE].min() < 128
    save(page, tmp_path / "page.jpg")
    assert (tmp_path / "page.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="does not fit"):
        save(noise, tmp_path / "noise.jpg", kb=1)
