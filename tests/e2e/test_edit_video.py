"""A buyer's own video goes on for a while, through the whole market, by one command."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from e2e_world import check_video, market, show
from test_commands import run

from reelmesh.scheduler.spec import ExtendVideo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from footage_maker import write_footage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_a_video_goes_on_as_it_moved() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rm-edit-"))
    pictures = []
    for i in range(18):
        picture = np.full((256, 256, 3), (20, 30, 110), np.uint8)
        cv2.circle(picture, (60 + 5 * i, 128), 26, (230, 50, 40), -1, cv2.LINE_AA)
        pictures.append(picture)
    film = write_footage(folder / "roll.mp4", pictures, fps=12, audio=True)
    async with market() as world:
        words = ["job", "submit", "--video", str(film), "--extend", "0.5", "--size", "256x256"]
        words += ["--fps", "12", "--json", "--out", str(folder), "--name", "longer"]
        code, told, err = await run(folder, *words, "--node", str(world.root / "coordinator"))
        assert code == 0, err
        assert "sound is left out" in err
        job = await show(world, json.loads(told.splitlines()[0])["job_id"])
    check_video(folder / "longer.mp4", ExtendVideo.model_validate(job["spec"]))
    code, told, _ = await run(
        folder, "receipt", "verify", str(folder / "longer.receipt.json"), "--json"
    )
    assert code == 0, told
    with av.open(str(folder / "longer.mp4")) as media:
        frames = [frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)]
    assert len(frames) == 24
    ways = [np.argwhere((f[..., 0] > 140) & (f[..., 2] < 90)).mean(axis=0)[1] for f in frames]
    assert np.diff(ways) == pytest.approx(5, abs=1.2)
