"""A buyer looks first, goes on, asks again: every piece of work is paid for once."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import av
import pytest
from e2e_world import check_video, market, show
from test_commands import run

from reelmesh.scheduler.spec import TextToVideo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def said(told: str) -> dict[str, Any]:
    first: dict[str, Any] = json.loads(told.splitlines()[0])
    return first


async def test_what_was_seen_and_paid_for_is_not_paid_for_again() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rm-reuse-"))
    film = ["--seconds", "1", "--size", "256x256", "--fps", "12", "--steps", "8", "--seed", "3"]
    words = ["job", "submit", "a big red ball moving left over a blue background", *film]
    async with market() as world:
        where = ["--node", str(world.root / "coordinator"), "--json"]
        asked = [*words, "--out", str(folder), "--name", "film", *where]
        code, told, err = await run(folder, *asked, "--preview")
        assert code == 0, err
        first = await show(world, said(told)["job_id"])
        with av.open(str(folder / "film.preview.mp4")) as shown:
            frames = [frame.to_ndarray(format="rgb24") for frame in shown.decode(video=0)]
        assert [frame.shape for frame in frames] == [(384, 384, 3)] * 16
        assert "price_to_go_on" in told

        code, told, err = await run(folder, "job", "continue", first["job_id"], *where)
        assert code == 0, err
        rest = await show(world, said(told)["job_id"])
        stages = {subtask["stage"] for subtask in rest["subtasks"]}
        assert stages == {"interpolate", "upscale", "encode_video", "assemble"}
        assert [t["subtask"] for t in rest["reused"] if t["job_id"]] == ["decode"]
        check_video(folder / "film.mp4", TextToVideo.model_validate(rest["spec"]))
        whole = (folder / "film.mp4").read_bytes()

        again = [*words, "--out", str(folder), "--name", "again", *where]
        code, told, err = await run(folder, *again)
        assert code == 0, err
        assert json.loads(told)["reused"] is True
        assert (folder / "again.mp4").read_bytes() == whole

        # in other words and with no seed: that clip; and no other colour's
        other = ["job", "submit", "--similar", "big red ball going left on blue"]
        other += ["--seconds", "1", "--size", "256x256", "--fps", "12", "--steps", "8"]
        code, told, err = await run(folder, *other, "--out", str(folder), "--name", "like", *where)
        assert code == 0, err
        assert json.loads(told)["similar"]["prompt"] == words[2]
        assert (folder / "like.mp4").read_bytes() == whole
    for name in ("film.preview", "film"):
        receipt = str(folder / f"{name}.receipt.json")
        code, told, _ = await run(folder, "receipt", "verify", receipt, "--json")
        assert code == 0, told
        assert any(c["name"] == "plan.template" and c["ok"] for c in json.loads(told)["checks"])
