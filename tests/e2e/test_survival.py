"""Whoever dies in the middle: the video is whole, and every coin is accounted for on chain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from e2e_world import (
    BUDGET,
    check_every_coin,
    check_video,
    kill,
    market,
    show,
    submit,
    until,
)

from reelmesh.contracts.chain import connect, disconnect
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.market import MarketClient
from reelmesh.node.cli.control import Event

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def upscaling(event: Event) -> bool:
    return event.type == "progress" and event.data["subtask"].startswith("upscale")


def delivered(event: Event) -> bool:
    return event.type == "delivered"


async def test_a_provider_killed_in_the_middle_of_a_subtask_costs_nobody_anything() -> None:
    async with market() as world:
        job_id = await submit(world)
        caught = await until(world, job_id, upscaling)
        victim = world.provider(caught.data["provider"])
        kill(victim)
        end = await until(world, job_id, delivered)
        check_video(world.root / "out" / "film.mp4")
        assert end.data["video"] == str(world.root / "out" / "film.mp4")
        told = await show(world, job_id)
        again = next(s for s in told["subtasks"] if s["id"] == caught.data["subtask"])
        assert again["provider"] != victim.address
        assert again["state"] == "done"
        await check_every_coin(world, job_id)


def delivering(event: Event) -> bool:
    return event.type == "chunk" and event.data["subtask"].startswith("upscale")


@pytest.mark.parametrize("moment", [upscaling, delivering])
async def test_a_coordinator_killed_and_started_again_goes_on_where_it_was(
    moment: Callable[[Event], bool],
) -> None:
    async with market() as world:
        job_id = await submit(world)
        first = await until(world, job_id, lambda e: e.type == "subtask_done")
        await until(world, job_id, moment)
        kill(world.state.coordinator)
        await world.net.start_coordinator()
        await until(world, job_id, delivered)
        check_video(world.root / "out" / "film.mp4")
        told = await show(world, job_id)
        kept = next(s for s in told["subtasks"] if s["id"] == first.data["subtask"])
        assert kept["attempts"] == 1, "finished work was done twice"
        if all(s["attempts"] == 1 for s in told["subtasks"]):
            prices = sum(int(s["price"]) for s in told["subtasks"])
            assert int(told["paid_in_all"]) == prices, "a delivery was paid twice"
        await check_every_coin(world, job_id)


async def test_without_a_provider_the_job_says_so_and_the_money_comes_back() -> None:
    async with market(profiles=()) as world:
        job_id = await submit(world, deadline_s=60)
        failed = await until(world, job_id, lambda e: e.type == "job_failed")
        assert failed.data["reason"]
        assert failed.data["hint"]
        w3 = await connect(world.state.rpc_url, world.state.chain_id)
        try:
            reader = MarketClient(w3, Deployment.load(world.state.deployment).market)
            while (await show(world, job_id))["refunded"] in (None, "0"):
                assert (await show(world, job_id))["job_id"] == job_id
            assert await reader.credit_of(world.state.coordinator.address) == BUDGET
        finally:
            await disconnect(w3)
