"""A picture becomes a video through the whole market, by the command that a buyer types."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from e2e_world import check_video, market, show
from test_commands import run

from reelmesh.scheduler.spec import ImageToVideo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_a_picture_is_where_the_video_begins() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rm-i2v-"))
    picture = np.full((300, 300, 3), (20, 30, 110), np.uint8)
    cv2.circle(picture, (150, 150), 55, (225, 40, 35), -1, cv2.LINE_AA)
    file = folder / "ball.png"
    cv2.imwrite(str(file), picture[:, :, ::-1])
    async with market() as world:
        words = ["job", "submit", "it moves left", "--image", str(file), "--seconds", "1"]
        words += ["--size", "256x256", "--fps", "12", "--steps", "8", "--seed", "3", "--json"]
        node = ["--node", str(world.root / "coordinator")]
        code, told, err = await run(folder, *words, "--out", str(folder), "--name", "film", *node)
        assert code == 0, err
        assert "moves as a whole" in err
        job = await show(world, json.loads(told.splitlines()[0])["job_id"])
    check_video(folder / "film.mp4", ImageToVideo.model_validate(job["spec"]))
    receipt = str(folder / "film.receipt.json")
    code, told, _ = await run(folder, "receipt", "verify", receipt, "--json")
    assert code == 0, told
    names = {check["name"] for check in json.loads(told)["checks"] if check["ok"]}
    assert {"plan.sources", "plan.template", "work.encode_image.inputs"} <= names

    with av.open(str(folder / "film.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    small = [cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA) for p in (frames[0], picture)]
    error = np.mean((small[0].astype(float) - small[1]) ** 2)
    assert 10 * np.log10(255**2 / error) >= 25
    reds = [np.argwhere((f[..., 0] > 150) & (f[..., 2] < 90)).mean(axis=0)[1] for f in frames]
    assert reds[-1] < reds[0] - 40
