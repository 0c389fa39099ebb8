"""Footage becomes a video from a moving camera and a page, by the command that a buyer types."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from e2e_world import check_video, market, show
from test_commands import run

from reelmesh.node.layered import read_layers
from reelmesh.scheduler.spec import VideoTo4D

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def footage(file: Path) -> None:
    """A second of a red ball that rolls over striped ground."""
    ys, xs = np.mgrid[0:144, 0:192]
    with av.open(str(file), "w") as film:
        stream = film.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        for number in range(13):
            picture = np.empty((144, 192, 3), np.uint8)
            picture[:] = (120, 170, 230)
            picture[70:] = np.where((ys[70:] + xs[70:] // 4) % 16 < 8, 90, 130)[..., None]
            picture[np.hypot(xs - 60 - 5 * number, ys - 85) < 25] = (220, 40, 30)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))


async def test_footage_is_seen_along_an_orbit_and_in_a_page() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rm-4d-"))
    file = folder / "in.mp4"
    footage(file)
    words = ["job", "submit", "--video", str(file), "around the ball", "--seconds", "1"]
    words += ["--size", "256x256", "--fps", "12", "--views", "6", "--seed", "3", "--json"]
    code, _, err = await run(folder, *words, "--orbit", "-40:0")
    assert code != 0
    assert "leaves the range" in err
    assert "Traceback" not in err
    async with market() as world:
        node = ["--node", str(world.root / "coordinator")]
        told_where = ["--orbit", "-15:15", "--out", str(folder), "--name", "film"]
        code, told, err = await run(folder, *words, *told_where, *node)
        assert code == 0, err
        assert "depth is estimated" in err
        job = await show(world, json.loads(told.splitlines()[0])["job_id"])
    check_video(folder / "film.mp4", VideoTo4D.model_validate(job["spec"]))
    assert len(read_layers(folder / "film.mp4")) > 1000
    page = (folder / "film.html").read_text()
    assert "around the ball" in page
    code, told, _ = await run(
        folder, "receipt", "verify", str(folder / "film.receipt.json"), "--json"
    )
    assert code == 0, told
