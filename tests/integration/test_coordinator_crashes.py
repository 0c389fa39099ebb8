"""A coordinator that dies between a transaction and its journal entry sends none of them twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from coordinator_world import BUDGET, World, actors, world

from reelmesh.contracts import chain
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.market import MarketClient
from reelmesh.errors import ReelmeshError
from reelmesh.node.coordinator.app import HomeInUse, run_coordinator
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.storage.artifacts_writer import ArtifactWriter, StorageFull
from reelmesh.node.storage.journal import Entry, JobRow, Journal, JournalWriteFailed


async def chain_events(here: World, job_id: str) -> Counter[str]:
    w3 = await chain.connect(here.anvil.rpc_url)
    try:
        market = MarketClient(w3, here.deployment.market)
        latest = int(await w3.eth.block_number)
        found = await market.events(0, latest, bytes.fromhex(job_id[2:]))
    finally:
        await chain.disconnect(w3)
    return Counter(type(event).__name__ for event in found)


@pytest.mark.parametrize(
    "event", ["EscrowConfirmed", "AwardConfirmed", "SettlementConfirmed", "ResultDelivered"]
)
async def test_a_crash_after_a_transaction_and_before_its_entry(
    anvil: Anvil,
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    event: str,
) -> None:
    reached = asyncio.Event()
    feed = JobDriver.feed

    async def hang(self: JobDriver, happened: Any) -> Any:
        if happened.type == event:
            reached.set()
            await asyncio.Event().wait()
        return await feed(self, happened)

    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}, {"price": 0.35}),
    ):
        monkeypatch.setattr(JobDriver, "feed", hang)
        job_id = await here.submit()
        async with asyncio.timeout(30):
            await reached.wait()
        await here.stop()
        monkeypatch.setattr(JobDriver, "feed", feed)
        await here.start()
        events = await here.watch(job_id)
        assert events[-1].type == "delivered", events[-1]
        told = await chain_events(here, job_id)
        assert told["JobPosted"] == told["Awarded"] == told["Settled"] == 1
        on_chain = await here.on_chain(job_id)
        assert on_chain.paid + on_chain.refunded + on_chain.escrow == BUDGET


async def test_a_submission_whose_sender_hangs_up_is_begun_once_it_is_written(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on, rows = asyncio.Event(), asyncio.Event(), []
    add_job = Journal.add_job

    async def slowly(self: Journal, row: JobRow, first: Entry) -> None:
        rows.append(row)
        writing.set()
        await go_on.wait()
        await add_job(self, row, first)

    monkeypatch.setattr(Journal, "add_job", slowly)
    async with world(anvil, deployment, tmp_path / "c", bid_window_s=0.2) as here:
        asking = asyncio.create_task(here.submit())
        await writing.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        (row,) = rows
        go_on.set()
        async with asyncio.timeout(30):
            while not await known(here, row.job_id):
                await asyncio.sleep(0.05)
        assert (await here.watch(row.job_id))[-1].type == "job_failed"
        again = await here.submit()
        assert (await here.watch(again))[-1].type == "job_failed"


async def known(here: World, job_id: str) -> bool:
    try:
        await here.show(job_id)
    except ReelmeshError:
        return False
    return True


async def test_a_crash_in_the_middle_of_a_delivery_pays_it_once(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunk's pay is on disk, its voucher was never sent, and the delivery begins anew."""
    reached = asyncio.Event()
    feed, hit = JobDriver.feed, []

    async def hang(self: JobDriver, happened: Any) -> Any:
        state = await feed(self, happened)
        if happened.type == "ChunkAccepted" and happened.subtask.startswith("upscale"):
            hit.append(happened.subtask)
            assert state.subtasks[happened.subtask].lease.vouchered > 0
            reached.set()
            await asyncio.Event().wait()
        return state

    async with world(anvil, deployment, tmp_path / "c") as here, actors(here, {}) as (a,):
        monkeypatch.setattr(JobDriver, "feed", hang)
        job_id = await here.submit()
        async with asyncio.timeout(30):
            await reached.wait()
        await here.stop()
        monkeypatch.setattr(JobDriver, "feed", feed)
        await here.start()
        events = await here.watch(job_id)
        assert events[-1].type == "delivered", events[-1]
        job = await here.show(job_id)
        prices = {one["id"]: int(one["price"]) for one in job["subtasks"]}
        assert hit[0] in prices
        assert [one["attempts"] for one in job["subtasks"]] == [1] * len(prices)
        assert a.vouchers == sorted(a.vouchers)
        assert a.vouchers[-1] == int(job["paid_in_all"]) == sum(prices.values())
        on_chain = await here.on_chain(job_id)
        assert (on_chain.paid, on_chain.escrow) == (sum(prices.values()), 0)
        assert on_chain.paid + on_chain.refunded == BUDGET


def full_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, failures = ArtifactWriter.write, iter(range(5))

    async def full(writer: ArtifactWriter, data: bytes) -> None:
        ours = writer._staging.is_relative_to(home) and writer._expected is not None
        if ours and next(failures, None) is not None:
            raise StorageFull("the disk is full")
        await write(writer, data)

    monkeypatch.setattr(ArtifactWriter, "write", full)


def full_journal(_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, failures = Journal.append, iter(range(5))

    async def full(self: Journal, job_id: str, event: Entry, *rest: Any, **more: Any) -> None:
        if event.type == "ChunkAccepted" and next(failures, None) is not None:
            raise JournalWriteFailed("the journal cannot be written: disk is full")
        await append(self, job_id, event, *rest, **more)

    monkeypatch.setattr(Journal, "append", full)


@pytest.mark.parametrize("fill", [full_store, full_journal])
async def test_a_full_disk_strikes_nobody_and_pays_nothing_twice(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: Any
) -> None:
    async with world(anvil, deployment, tmp_path / "c") as here, actors(here, {}) as (a,):
        fill(here.home, monkeypatch)
        job_id = await here.submit()
        events = await here.watch(job_id)
        assert events[-1].type == "delivered", events[-1]
        assert not [one for one in events if one.type in ("subtask_failed", "lease_expired")]
        job = await here.show(job_id)
        assert {one["attempts"] for one in job["subtasks"]} == {1}
        price = sum(int(one["price"]) for one in job["subtasks"])
        assert a.vouchers[-1] == int(job["paid_in_all"]) == price


async def test_two_coordinators_do_not_share_a_home(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c") as here:
        with pytest.raises(HomeInUse) as caught:
            await run_coordinator(here.config, here.key)
        assert caught.value.hint


async def test_ports_stay_over_a_restart(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c") as here:
        before = here.host_addrs()
        await here.stop()
        await here.start()
        assert here.host_addrs() == before


async def test_the_file_of_an_ended_job_is_safe_after_a_restart(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c") as here, actors(here, {"price": 0.3}):
        job_id = await here.submit()
        assert (await here.watch(job_id))[-1].type == "delivered"
        made = (here.out / "clip.mp4").read_bytes()
        await here.stop()
        await here.start()
        with pytest.raises(ReelmeshError, match=f"the result of job {job_id}") as caught:
            await here.submit(seed=2)
        assert "--name" in caught.value.hint
        assert (here.out / "clip.mp4").read_bytes() == made
        (here.out / "clip.mp4").unlink()  # nothing is lost any more
        assert await here.submit(seed=2) != job_id
