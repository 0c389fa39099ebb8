"""A job through a real coordinator: bids, awards, leases, vouchers, settlement, on a real chain."""

from __future__ import annotations

from pathlib import Path

from coordinator_world import BUDGET, actors, world

from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.terms import Phase as ChainPhase


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
        job = await here.show(job_id)
        on_chain = await here.on_chain(job_id)
        assert on_chain.phase is ChainPhase.CLOSED
        assert on_chain.paid + on_chain.refunded == BUDGET
        assert job["state"] == "delivered"
        assert {s["state"] for s in job["subtasks"]} == {"done"}
        assert sum(int(wei) for wei in job["paid"].values()) == on_chain.paid
        done = a.done + b.done + c.done
        assert sorted(done) == sorted(s["id"] for s in job["subtasks"])
        assert Path(job["video"]).stat().st_size == 96_000
        assert Path(job["receipt"]).stat().st_size > 0
