"""What a buyer brings along: taken in whole or refused, and seen by none but its lease's holder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from coordinator_world import BUDGET, Actor, World, actors, world

from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.deploy import Deployment
from reelmesh.errors import ReelmeshError
from reelmesh.node.cli.control import ControlClient, Order
from reelmesh.node.receipt.verify import verify
from reelmesh.proto import work_pb2
from reelmesh.scheduler.sources import Picture
from reelmesh.scheduler.spec import ImageToVideo

DATA = b"\x89PNG, or so it says" * 70_000  # more than one chunk; nobody here decodes it
IMAGE = Picture.model_validate({"sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA)})
SPEC = ImageToVideo(prompt="it moves", seconds=1.0, width=256, height=256, image=IMAGE)


async def submit(here: World, spec: ImageToVideo = SPEC, **sources: Path) -> str:
    order = Order(spec.canonical().decode(), BUDGET, 600, here.out, "clip", sources)
    async with ControlClient(here.config.control_socket) as client:
        return await client.submit(order)


async def test_a_source_goes_to_the_provider_that_decodes_it_and_into_the_receipt(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(DATA)
    refused: list[str] = []

    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}, {"price": 0.4}) as (a, b),
    ):

        async def take_what_is_not_mine(grant: work_pb2.Grant) -> None:
            if grant.subtask == "encode_image":
                return
            ref = work_pb2.ArtifactRef(name="image", sha256=IMAGE.sha256, size=IMAGE.size)
            for actor in (a, b):
                if not await actor.store.has(IMAGE.sha256):
                    await _try_fetch(actor, grant, ref, refused)

        a.before_work = b.before_work = take_what_is_not_mine
        job_id = await submit(here, image=file)
        file.unlink()
        feed = await here.watch(job_id)
        assert feed[-1].type == "delivered", feed[-3:]
        holders = [x for x in (a, b) if "encode_image" in x.done]
        assert [await x.store.has(IMAGE.sha256) for x in (a, b)] == [x in holders for x in (a, b)]
        job = await here.show(job_id)
        assert [t["sources"] for t in job["plan"] if t["sources"]] == [["image"]]
        report = verify(Path(job["receipt"]).read_bytes())
        assert report.ok, report.wrong
    assert refused


async def _try_fetch(
    actor: Actor, grant: work_pb2.Grant, ref: work_pb2.ArtifactRef, refused: list[str]
) -> None:
    award = next(x for x in (*actor.awards, None) if x is None or x.job_id == grant.job_id)
    if award is None:
        return
    async with actor.client(award) as client:
        with pytest.raises(ReelmeshError) as caught:
            await client.fetch(grant.job_id, ref, actor.store)
    refused.append(str(caught.value))


async def test_sources_that_are_not_what_the_spec_says_are_refused(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    good, longer, other = (tmp_path / name for name in ("good", "longer", "other"))
    good.write_bytes(DATA)
    longer.write_bytes(DATA + b"!")
    other.write_bytes(DATA[:-1] + b"!")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with world(anvil, deployment, tmp_path / "c") as here:
        for sources, says in (
            ({}, "takes these files with it: image"),
            ({"image": good, "video": good}, "takes these files with it: image"),
            ({"image": Path("good")}, "absolute"),
            ({"image": tmp_path / "none"}, "No such file"),
            ({"image": tmp_path}, "is not a file|Is a directory"),
            ({"image": pipe}, "is not a file"),
            ({"image": longer}, "not what it was"),
            ({"image": other}, "not what it was"),
        ):
            with pytest.raises(ReelmeshError, match=says) as caught:
                await submit(here, **sources)
            assert caught.value.exit_code == 2
        async with ControlClient(here.config.control_socket) as client:
            assert await client.jobs(10) == []
