"""A job through a real coordinator: bids, awards, leases, vouchers, settlement, on a real chain."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from coordinator_world import BUDGET, Actor, Dead, Event, World, actors, world

from reelmesh.contracts import chain
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.terms import Phase as ChainPhase
from reelmesh.errors import ReelmeshError
from reelmesh.node.receipt.verify import verify, verify_chain
from reelmesh.proto import work_pb2
from reelmesh.scheduler.cost import least_budget
from reelmesh.scheduler.ids import Wei
from reelmesh.scheduler.templates import make_plan


async def accounted(here: World, job_id: str) -> None:
    """Every coin of the escrow is where the job says, and nowhere else."""
    job, on_chain = await here.show(job_id), await here.on_chain(job_id)
    assert on_chain.paid + on_chain.refunded + on_chain.escrow == int(job["escrowed"]) == BUDGET
    assert on_chain.paid == int(job["paid_in_all"])
    assert on_chain.refunded == int(job["refunded"])
    assert on_chain.escrow == int(job["locked"])


def last(feed: list[Event]) -> Event:
    return feed[-1]


async def test_a_job_is_done_and_every_coin_accounted_for(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}, {"price": 0.4}, {"price": 0.5}) as (a, b, c),
    ):
        job_id = await here.submit()
        feed = await here.watch(job_id)
        types = [event.type for event in feed]
        assert types[-1] == "delivered", feed[-3:]
        for expected in ("job_posted", "planned", "call_published", "cleared", "settled"):
            assert expected in types
        assert [event.sequence for event in feed] == sorted({e.sequence for e in feed})
        job = await here.show(job_id)
        assert job["state"] == "delivered"
        assert {s["state"] for s in job["subtasks"]} == {"done"}
        await accounted(here, job_id)
        assert (await here.on_chain(job_id)).phase is ChainPhase.CLOSED
        assert sum(int(wei) for wei in job["paid"].values()) == int(job["paid_in_all"])
        assert sorted(a.done + b.done + c.done) == sorted(s["id"] for s in job["subtasks"])
        assert a.losses or b.losses or c.losses
        assert Path(job["video"]).stat().st_size == 96_000
        with pytest.raises(ReelmeshError, match=f"the result of job {job_id}"):
            await here.submit(seconds=2.0)
        again = await here.watch(job_id, after=feed[4].sequence)
        assert [e.sequence for e in again] == [e.sequence for e in feed[5:]]
        await receipt_holds(here, Path(job["receipt"]).read_bytes())


async def receipt_holds(here: World, data: bytes) -> None:
    assert verify(data).ok, verify(data).wrong
    w3 = await chain.connect(here.anvil.rpc_url)
    try:
        told = await verify_chain(data, w3)
    finally:
        await chain.disconnect(w3)
    assert told.ok, told.wrong
    assert all(check.ok for check in told.checks)


async def test_without_providers_it_says_why_and_refunds(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c", bid_window_s=0.2) as here:
        job_id = await here.submit()
        end = last(await here.watch(job_id))
        assert end.type == "job_failed"
        assert end.data["reason"] == "no_peers"
        assert end.data["hint"]
        assert (await here.on_chain(job_id)).refunded == BUDGET
        await accounted(here, job_id)


async def test_bids_above_the_reserve_end_the_job_with_that_reason(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c", bid_window_s=0.4) as here,
        actors(here, {"price": 1000.0}),
    ):
        job_id = await here.submit()
        end = last(await here.watch(job_id))
        assert (end.type, end.data["reason"]) == ("job_failed", "over_reserve")
        await accounted(here, job_id)


async def test_a_provider_that_vanishes_in_a_subtask_is_replaced(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}, {"price": 0.35}) as (a, b),
    ):

        async def die(grant: work_pb2.Grant) -> None:
            if grant.stage == "upscale":
                raise Dead

        a.before_work = die
        b.before_work = hold_upscales
        job_id = await here.submit()
        feed = await here.watch(job_id)
        assert last(feed).type == "delivered", [e.type for e in feed]
        assert any(e.type == "lease_expired" for e in feed)
        done = [e.data["subtask"] for e in feed if e.type == "subtask_done"]
        assert len(done) == len(set(done)) == len(make_plan_ids(feed))
        await accounted(here, job_id)


async def hold_upscales(grant: work_pb2.Grant) -> None:
    """Long enough that the other has leased its share."""
    if grant.stage == "upscale":
        await asyncio.sleep(0.3)


def make_plan_ids(feed: list[Event]) -> list[str]:
    (planned,) = [e for e in feed if e.type == "planned"]
    return [s["id"] for s in planned.data["subtasks"]]


async def test_a_coordinator_that_restarts_goes_on_where_it_was(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}, {"price": 0.35}) as (a, b),
    ):
        held = asyncio.Event()

        async def hold(grant: work_pb2.Grant) -> None:
            if grant.stage == "upscale":
                await held.wait()

        a.before_work = b.before_work = hold
        job_id = await here.submit()
        leased = lambda e: e.type == "leased" and e.data["subtask"].startswith("upscale")  # noqa: E731
        await here.watch(job_id, until=leased)
        done_before = sorted(a.done + b.done)
        await here.stop()
        held.set()
        await here.start()
        feed = await here.watch(job_id)
        assert last(feed).type == "delivered"
        done = [e.data["subtask"] for e in feed if e.type == "subtask_done"]
        assert len(done) == len(set(done)) == len(make_plan_ids(feed))
        assert set(done_before) <= set(done)
        await accounted(here, job_id)
        await receipt_holds(here, Path((await here.show(job_id))["receipt"]).read_bytes())


async def test_without_consent_the_rest_stays_locked_for_claims(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}, {"price": 0.4}) as (a, b),
    ):
        a.consents = b.consents = False
        job_id = await here.submit()
        feed = await here.watch(job_id)
        assert last(feed).type == "delivered"
        await accounted(here, job_id)
        job = await here.show(job_id)
        assert (await here.on_chain(job_id)).escrow == int(job["locked"]) > 0
        assert verify(Path(job["receipt"]).read_bytes()).ok


def _wrong_outputs(attestation: Any) -> Any:
    return dataclasses.replace(attestation, outputs_root=b"\x01" * 32)


def _wrong_attempt(attestation: Any) -> Any:
    return dataclasses.replace(attestation, attempt=attestation.attempt + 1)


def _other_job(attestation: Any) -> Any:
    return dataclasses.replace(attestation, stage="assemble")


def _old(attestation: Any) -> Any:
    return dataclasses.replace(attestation, started_at=attestation.started_at - 8 * 86_400_000)


def _future(attestation: Any) -> Any:
    return dataclasses.replace(attestation, finished_at=attestation.finished_at + 3_600_000)


@pytest.mark.parametrize("tamper", [_wrong_outputs, _wrong_attempt, _other_job, _old, _future])
async def test_a_false_attestation_is_refused_and_the_work_goes_to_another(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, tamper: Any
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.2}, {"price": 0.4}) as (liar, honest),
    ):
        liar.tamper = tamper
        job_id = await here.submit()
        feed = await here.watch(job_id)
        assert last(feed).type == "delivered", last(feed)
        assert not liar.done
        assert any(e.data.get("reason") == "bad_attestation" for e in feed)
        assert len(honest.done) == len(make_plan_ids(feed))
        await accounted(here, job_id)


def _other_hash(refs: list[work_pb2.ArtifactRef]) -> None:
    refs[0].sha256 = "ab" * 32


def _other_kind(refs: list[work_pb2.ArtifactRef]) -> None:
    refs[0].kind = "video"


def _enormous(refs: list[work_pb2.ArtifactRef]) -> None:
    refs[0].size = 1 << 34


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(_other_hash, "wrong_bytes"), (_other_kind, "wrong_outputs"), (_enormous, "too_much")],
)
async def test_wrong_bytes_are_refused_and_the_work_goes_to_another(
    anvil: Anvil, deployment: Deployment, tmp_path: Path, spoil: Any, reason: str
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.2}, {"price": 0.4}) as (liar, honest),
    ):
        make = liar.make

        async def spoiled(grant: work_pb2.Grant) -> list[work_pb2.ArtifactRef]:
            refs = await make(grant)
            liar.files = [await liar.store.path(ref.sha256) for ref in refs]
            spoil(refs)
            if refs[0].size > liar.files[0].stat().st_size:
                # Really there to send, or the liar would hang up on itself before it is refused.
                liar.files = [tmp_path / "enormous"]
                with liar.files[0].open("wb") as file:
                    file.truncate(refs[0].size)
            return refs

        liar.make = spoiled  # type: ignore[method-assign]
        job_id = await here.submit()
        feed = await here.watch(job_id)
        assert last(feed).type == "delivered", last(feed)
        assert not liar.done
        assert any(e.data.get("reason") == reason for e in feed if e.type == "subtask_failed")
        assert len(honest.done) == len(make_plan_ids(feed))
        await accounted(here, job_id)


async def test_cancelling_pays_what_was_done_and_refunds_the_rest(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}) as (a,),
    ):
        stuck = asyncio.Event()

        async def hold(grant: work_pb2.Grant) -> None:
            if grant.stage == "interpolate":
                await stuck.wait()

        a.before_work = hold
        job_id = await here.submit()
        await here.watch(
            job_id, until=lambda e: e.type == "leased" and e.data["subtask"] == "interpolate"
        )
        await here.cancel(job_id)
        end = last(await here.watch(job_id))
        assert end.type == "job_cancelled"
        job = await here.show(job_id)
        assert 0 < int(job["paid_in_all"]) < BUDGET
        await accounted(here, job_id)
        with pytest.raises(ReelmeshError):
            await here.cancel(job_id) if job["locked"] == "0" else _raise()


def _raise() -> None:
    raise ReelmeshError("still locked")


async def test_a_second_submission_with_the_same_id_is_the_same_job(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c", bid_window_s=0.2) as here:
        first, second = await asyncio.gather(
            here.submit(request_id="once"), here.submit(request_id="once")
        )
        assert first == second
        with pytest.raises(ReelmeshError, match=f"the result of job {first}") as caught:
            await here.submit(request_id="twice")
        assert "--name" in caught.value.hint
        third = await here.submit(request_id="twice", name="another")
        assert third != first
        for job_id in (first, third):
            assert last(await here.watch(job_id)).type == "job_failed"


async def test_bad_submissions_are_refused_in_plain_words(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c") as here:
        from coordinator_world import spec

        least = least_budget(make_plan(spec()))
        with pytest.raises(ReelmeshError, match="budget") as caught:
            await here.submit(budget=Wei(least - 1))
        assert str(least) in caught.value.hint
        for changes in ({"deadline_s": 1}, {"budget": 10**30}):
            with pytest.raises(ReelmeshError) as caught:
                await here.submit(**changes)
            assert caught.value.hint
        here.out.write_text("a file where the folder should be")
        with pytest.raises(ReelmeshError, match="cannot be written") as caught:
            await here.submit()
        assert caught.value.hint
        with pytest.raises(ReelmeshError, match="no job"):
            await here.show("0x" + "12" * 32)
        with pytest.raises(ReelmeshError):
            await here.show("nonsense")


async def test_bids_are_refused_with_reasons(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c", bid_window_s=3.0) as here:
        unstaked, staked = Actor(here), Actor(here)
        try:
            await unstaked.start(staked=False)
            await staked.start()
            reasons: list[str] = []

            async def probe(_sender: str, call: Any, _via: str) -> None:
                good = staked.bid(call)
                for changes in (
                    {"round": 7},
                    {"job_id": b"\x07" * 32},
                    {"certificate_der": unstaked.certificate.der},
                    {"slots": 0},
                    {"stages": []},
                ):
                    bid = staked.bid(call, **changes)
                    reply = await staked.network.send_bid(call.coordinator_peer, bid)
                    reasons.append(reply.reason)
                for bid in (good, good, staked.bid(call)):
                    reply = await staked.network.send_bid(call.coordinator_peer, bid)
                    reasons.append(reply.reason)

            staked.network._on_call = [probe]
            job_id = await here.submit()
            await here.watch(job_id, until=lambda e: e.type == "cleared")
            assert reasons == [
                "wrong_round",
                "unknown_job",
                "bad_certificate",
                "malformed",
                "nothing_offered",
                "",
                "replayed",
                "too_many",
            ]
            assert [reply.reason for reply in unstaked.replies] == ["not_registered"]
            await here.cancel(job_id)
            await here.watch(job_id)
            await accounted(here, job_id)
        finally:
            await unstaked.stop()
            await staked.stop()


async def test_a_production_model_is_made_with_one_set_of_files(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    """Two have the model; one has other files by its name, one has none: both are told so."""
    async with (
        world(anvil, deployment, tmp_path / "c") as here,
        actors(here, {"price": 0.3}, {"price": 0.4}, {"price": 0.1}, {"price": 0.1}) as four,
    ):
        a, b, odd, none = four
        a.models = b.models = {"wan-t2v": b"\x01" * 32}
        odd.models = {"wan-t2v": b"\x02" * 32}
        job_id = await here.submit(model="wan-t2v", guidance=5.0)
        feed = await here.watch(job_id)
        assert feed[-1].type == "delivered", feed[-3:]
        job = await here.show(job_id)
        made = {"encode_prompt", "denoise-0", "denoise-1", "decode_latent"}
        assert made <= set(a.done + b.done)
        assert not made & set(odd.done + none.done)
        told = {(loss["provider"], loss["subtask"]): loss["reason"] for loss in job["losses"]}
        for actor in (odd, none):
            assert told[actor.key.address, "denoise-0"] == "model_not_offered"
        await accounted(here, job_id)
