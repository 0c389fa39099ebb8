"""Work that a buyer paid for is not paid for twice, whatever became of what was kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from coordinator_world import BUDGET, Actor, World, actors, spec, world

from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.deploy import Deployment
from reelmesh.node.cli.control import ControlClient, Order, Taken
from reelmesh.node.cli.submitting import with_similar_seed
from reelmesh.node.coordinator import resembling
from reelmesh.node.receipt.verify import verify


async def order(here: World, name: str, reuse: str = "exact", **changes: Any) -> Taken:
    asked = Order(spec(**changes).canonical().decode(), BUDGET, 600, here.out, name)
    async with ControlClient(here.config.control_socket) as client:
        return await client.order(replace(asked, reuse=reuse))


async def made(here: World, name: str, reuse: str = "exact", **changes: Any) -> dict[str, Any]:
    """A job that was delivered, as it is shown; its receipt holds."""
    taken = await order(here, name, reuse, **changes)
    assert not taken.video
    feed = await here.watch(taken.job_id)
    assert feed[-1].type == "delivered", feed[-3:]
    job = await here.show(taken.job_id)
    report = verify(Path(job["receipt"]).read_bytes())
    assert report.ok, report.wrong
    return job


def ids(job: dict[str, Any]) -> list[str]:
    return [subtask["id"] for subtask in job["subtasks"]]


def reused(job: dict[str, Any]) -> dict[str, str]:
    return {told["subtask"]: told["job_id"] for told in job["reused"] if told["job_id"]}


@asynccontextmanager
async def market(
    anvil: Anvil, deployment: Deployment, home: Path, **config: Any
) -> AsyncIterator[tuple[World, Actor]]:
    async with (
        world(anvil, deployment, home, **config) as here,
        actors(here, {"price": 0.3}) as (a,),
    ):
        yield here, a


async def test_the_same_job_again_is_given_and_a_like_one_does_only_the_rest(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with market(anvil, deployment, tmp_path / "c") as (here, _):
        first = await made(here, "one")
        assert first["reused"] == []
        again = await order(here, "two")
        assert again.job_id == first["job_id"]
        assert Path(again.video).read_bytes() == Path(first["video"]).read_bytes()
        assert len((await jobs(here))["jobs"]) == 1

        wider = await made(here, "three", width=320)
        assert set(reused(wider)) == {"interpolate"}
        assert set(reused(wider).values()) == {first["job_id"]}
        assert {i.partition("-")[0] for i in ids(wider)} == {"upscale", "encode_video", "assemble"}
        assert int(wider["paid_in_all"]) < int(first["paid_in_all"])
        told = json.loads(Path(wider["receipt"]).read_text())["reused"]
        assert [one["subtask"] for one in told] == ["interpolate"]

        anew = await made(here, "four", reuse="off")
        assert anew["reused"] == []
        assert ids(anew) == ids(first)
    async with market(anvil, deployment, tmp_path / "d") as (other, _):
        assert (await made(other, "one"))["reused"] == []  # another buyer's space is another


async def test_what_is_damaged_or_a_lie_is_done_again(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with market(anvil, deployment, tmp_path / "c") as (here, _):
        first = await made(here, "one")
        objects = here.config.home / "artifacts" / "objects"
        database = here.config.home / "coordinator.db"
        artifact = artifact_of(database, "interpolate")
        (objects / artifact[:2] / artifact).write_bytes(b"not what it was")
        job = await made(here, "two", width=320)
        assert set(reused(job)) == {"decode"}
        assert "interpolate" in ids(job)

        with sqlite3.connect(database) as connection:
            rows = connection.execute("SELECT work_key, body FROM kept_results").fetchall()
            for key, body in rows:
                lie = json.loads(body)
                lie["provider"] = "0x" + "11" * 20
                change = ("UPDATE kept_results SET body = ? WHERE work_key = ?",)
                connection.execute(*change, (json.dumps(lie), key))
        job = await made(here, "three")
        assert job["reused"] == []
        assert ids(job) == ids(first)
        assert reused(await made(here, "four", width=384)).keys() == {"interpolate"}


async def test_the_index_outlives_the_coordinator_and_stays_within_its_bound(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with market(anvil, deployment, tmp_path / "c") as (here, _):
        first = await made(here, "one")
        await here.stop()
        await here.start()
        again = await order(here, "two")
        assert again.job_id == first["job_id"]
        assert again.video
        before = {f.name for f in objects_of(here) if f.stat().st_size > 10_000}
        assert len(before) == len(ids(first))
        await here.stop()
        here.config = here.config.model_copy(update={"reuse_bytes": 300_000})
        await here.start()
        await made(here, "four", reuse="off", seed=9)
        with sqlite3.connect(here.config.home / "coordinator.db") as connection:
            (kept,) = connection.execute("SELECT sum(size) FROM kept_results").fetchone()
        assert 0 < kept <= 300_000
        # its own results stay while it runs, the earlier job's have made room
        names = {f.name for f in objects_of(here)}
        assert not names & before


def objects_of(here: World) -> list[Path]:
    return [f for f in (here.config.home / "artifacts" / "objects").rglob("*") if f.is_file()]


def artifact_of(database: Path, name: str) -> str:
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT sha256, body FROM kept_results").fetchall()
    (found,) = (sha256 for sha256, body in rows if json.loads(body)["subtask"] == name)
    return str(found)


async def jobs(here: World) -> Any:
    async with ControlClient(here.config.control_socket) as client:
        told: Any = await client.jobs(10)
    return told if isinstance(told, dict) else {"jobs": told}


@pytest.mark.parametrize("mode", ["all", "EXACT", "like:", "like:0x12"])
async def test_another_word_for_reuse_is_refused(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, mode: str
) -> None:
    async with world(anvil, deployment, tmp_path / "c") as here:
        with pytest.raises(Exception, match="reuse"):
            await order(here, "one", reuse=mode)


BALL = "a large red ball moving left over a blue background"
REWORDED = "big red ball drifting left over a plain blue background"
GREEN = "a large green ball moving left over a blue background"


@pytest.mark.timeout(400)
async def test_a_reworded_prompt_takes_the_clip_and_another_colour_does_not(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with market(anvil, deployment, tmp_path / "c") as (here, _):
        first = await made(here, "one", prompt=BALL)
        other = await made(here, "two", reuse="similar", prompt=GREEN)
        assert other["reused"] == []
        assert other["similar"] is None
        wider = await made(here, "four", reuse="similar", prompt=BALL, width=384)
        assert wider["similar"] is None  # exact reuse comes first
        again = await order(here, "five", "similar", prompt=f"{REWORDED}, please")
        assert Path(again.video).read_bytes() == Path(first["video"]).read_bytes()
        assert (again.job_id, again.similar_prompt) == (first["job_id"], BALL)
        assert 0.6 <= again.likeness < 1
        asked = Order(
            spec(prompt=REWORDED, seed=77).canonical().decode(), BUDGET, 600, here.out, "x"
        )
        seeded = await with_similar_seed(here.config.control_socket, asked)
        assert json.loads(seeded.spec_json)["seed"] == 0
        unlike = replace(
            asked, spec_json=spec(prompt=GREEN.replace("left", "up")).canonical().decode()
        )
        assert await with_similar_seed(here.config.control_socket, unlike) == unlike
        exact = await made(here, "six", prompt=REWORDED, width=320)
        assert exact["reused"] == []


@pytest.mark.timeout(400)
async def test_what_follows_a_similar_clip_is_kept_as_that_clips(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with market(anvil, deployment, tmp_path / "c") as (here, _):
        first = await made(here, "one", prompt=BALL)
        seen = await made(here, "two", reuse="similar", prompt=REWORDED, layer="preview")
        assert set(reused(seen)) == {"decode"}
        assert ids(seen) == ["preview"]
        assert seen["similar"]["prompt"] == BALL
        feed = await here.watch(seen["job_id"])
        assert next(e for e in feed if e.type == "reused").data["similar"]["prompt"] == BALL
        (told,) = json.loads(Path(seen["receipt"]).read_text())["reused"]
        assert told["similar"]["prompt"] == BALL
        assert 0 < told["similar"]["distance"] <= 0.4
        assert told["job_id"] == first["job_id"]

        rest = await made(here, "three", reuse=f"like:{seen['job_id']}", prompt=REWORDED, width=320)
        assert set(reused(rest)) == {"interpolate"}
        # what was made of the other prompt's clip is that prompt's work, and not this one's
        assert (await order(here, "four", prompt=BALL, width=320)).job_id == rest["job_id"]
        own = await made(here, "five", prompt=REWORDED, width=320)
        assert own["reused"] == []
        mended = await made(
            here,
            "six",
            reuse=f"like:{rest['job_id']}",
            prompt=REWORDED,
            width=320,
            repair={"start": 0.0, "stop": 0.2, "seed": 4},
        )
        assert "skeleton-1" in reused(mended)
        assert mended["similar"]["prompt"] == BALL


@pytest.mark.timeout(400)
async def test_a_similar_clip_that_is_damaged_is_made_for_the_prompt_itself(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with market(anvil, deployment, tmp_path / "c") as (here, _):
        await made(here, "one", prompt=BALL)
        database = here.config.home / "coordinator.db"
        seen = await made(here, "two", reuse="similar", prompt=REWORDED, width=320)
        assert seen["similar"]
        for file in objects_of(here):
            file.write_bytes(b"not what it was")
        job = await made(here, "three", reuse="similar", prompt=REWORDED)
        assert job["similar"] is None
        assert job["reused"] == []
        with pytest.raises(Exception, match="not kept any more"):
            await order(here, "four", f"like:{seen['job_id']}", prompt=REWORDED, width=384)
        with sqlite3.connect(database) as connection:
            rows = connection.execute("SELECT work_key, prompt FROM kept_clips").fetchall()
        assert [prompt for _, prompt in rows] == [REWORDED]
        with sqlite3.connect(database) as connection:  # a lie about what a clip was made for
            connection.execute("UPDATE kept_clips SET prompt = ?", (BALL,))
        job = await made(here, "five", reuse="similar", prompt=f"{BALL}, please")
        assert job["similar"] is None


async def test_without_the_model_similar_is_refused_with_a_next_step(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resembling, "_NEEDED", ("no_such_package",))
    async with world(anvil, deployment, tmp_path / "c") as here:
        with pytest.raises(Exception, match=r"no_such_package is not installed.*make setup"):
            await order(here, "one", reuse="similar")


async def test_a_repair_takes_in_every_segment_outside_its_part(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with market(anvil, deployment, tmp_path / "c") as (here, _):
        first = await made(here, "one", seconds=2.0)
        job = await made(here, "two", seconds=2.0, repair={"start": 0.0, "stop": 0.2, "seed": 4})
        assert set(reused(job)) >= {"skeleton-1", "encode_video-2", "encode_video-3"}
        assert "encode_video_again-0" in ids(job)
        assert "skeleton-0" not in ids(job)
        told = json.loads(Path(job["receipt"]).read_text())
        joined = next(w for w in told["work"] if w["subtask"] == "assemble_again")["inputs"]
        earlier = json.loads(Path(first["receipt"]).read_text())["work"]
        before = next(w for w in earlier if w["subtask"] == "assemble")["inputs"]
        assert joined["segment-3"] == before["segment-3"]
        assert joined["segment-0"] != before["segment-0"]
