"""A wide video through the whole market, in tiles that several providers make."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from e2e_world import check_video, market, show
from test_commands import run

from reelmesh.scheduler.spec import TextToVideo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_a_wide_video_is_made_in_tiles() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rm-wide-"))
    async with market() as world:
        words = ["job", "submit", "a big red ball moving left over a blue background"]
        words += ["--size", "1600x130", "--seconds", "1", "--fps", "12", "--steps", "8"]
        words += ["--seed", "3", "--json", "--out", str(folder), "--name", "film"]
        code, told, err = await run(folder, *words, "--node", str(world.root / "coordinator"))
        assert code == 0, err
        job = await show(world, json.loads(told.splitlines()[0])["job_id"])
    check_video(folder / "film.mp4", TextToVideo.model_validate(job["spec"]))
    receipt = str(folder / "film.receipt.json")
    code, told, _ = await run(folder, "receipt", "verify", receipt, "--json")
    assert code == 0, told
    names = {check["name"] for check in json.loads(told)["checks"] if check["ok"]}
    assert {"plan.template", "work.upscale_tile-1.inputs", "work.join_tiles-0.inputs"} <= names

    with av.open(str(folder / "film.mp4")) as film:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])
    found = (frames[..., 0] > 150) & (frames[..., 2] < 90)
    ys, xs = np.nonzero(found[0])
    assert 0.8 < np.ptp(xs) / np.ptp(ys) < 1.25  # round, as wide as it is high
    # The tiles meet at 800, amid the plain background: nothing is to be seen of it.
    steps = np.abs(np.diff(frames.astype(int), axis=2)).max(axis=(0, 1, 3))
    centres = [float(np.nonzero(row)[1].mean()) for row in found]
    assert centres[-1] < centres[0] - 20
    ball = min(centres) - 60 < 800 < max(centres) + 60
    assert ball or steps[799] <= 3
