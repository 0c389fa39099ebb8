"""Calls become bids once a round, awards become work once checked. The network is stood in for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_provider_award import COORDINATOR, ME, NOW, OTHER, make_award
from test_provider_policy import MARKET, POLICY, call, offer

from reelmesh.contracts.eip712 import Domain
from reelmesh.errors import PeerError
from reelmesh.node.provider import bidding
from reelmesh.node.provider.award import AwardRefused
from reelmesh.node.provider.bidding import Bidder, Market
from reelmesh.node.provider.lanes import Board
from reelmesh.node.provider.policy import StageRate
from reelmesh.node.provider.session import Node
from reelmesh.node.provider.state import ProviderState
from reelmesh.node.rpc.certs import make_certificate
from reelmesh.node.rpc.limits import RpcLimits
from reelmesh.node.storage.db import sqlite_url
from reelmesh.proto import market_pb2

JOB = b"j" * 32
WHO = "/ip4/127.0.0.1/tcp/1/p2p/x"


class Network:
    """Keeps what is said, and answers as the test wants."""

    def __init__(self) -> None:
        self.bids: list[market_pb2.Bid] = []
        self.answers: list[market_pb2.BidReply | PeerError] = []
        self.sent = asyncio.Event()

    async def send_bid(self, _coordinator: str, bid: market_pb2.Bid) -> market_pb2.BidReply:
        self.bids.append(bid)
        answer = self.answers.pop(0) if self.answers else market_pb2.BidReply(accepted=True)
        if isinstance(answer, PeerError):
            raise answer
        self.sent.set()
        return answer


class Scene:
    def __init__(self, bidder: Bidder, board: Board, network: Network, state: ProviderState):
        self.bidder, self.board, self.network, self.state = bidder, board, network, state

    async def bid(self) -> None:
        """Bid on a call whose subtasks `make_award` awards."""
        offers = [offer(units=2.5), offer(id="upscale-1", units=2.5)]
        heard = call(*offers, closes_at_ms=NOW + 2000, deadline_ms=NOW + 600_000)
        await self.bidder.on_call(COORDINATOR.address, heard, "peer")
        await self.network.sent.wait()


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    async def escrowed(*_args: object) -> None:
        return None

    monkeypatch.setattr(bidding, "check_escrow", escrowed)
    monkeypatch.setattr(bidding, "_ASK_AGAIN_S", 0.0)
    network = Network()
    client: Any = SimpleNamespace(address="0x" + MARKET.hex())
    machine: Any = SimpleNamespace(
        rates=lambda: {"upscale": StageRate("upscale", 1, 0.01, 600)},
        policy=lambda: POLICY,
        memory_mb=4000,
        device_class="cpu-test",
    )
    state = await ProviderState.open(sqlite_url(tmp_path / "p.db"))
    node = Node(
        ME,
        make_certificate(ME, NOW, 3600),
        Domain(31337, OTHER.address),
        state,
        lambda: NOW,
        RpcLimits(),
    )
    board = Board(1000, lambda: NOW)
    market = Market(31337, client, 0, network)  # type: ignore[arg-type]
    bidder = Bidder(market, node, machine, board, slots=1, uplink_mbps=50.0, busy_slots=lambda: 0)
    yield Scene(bidder, board, network, state)
    await bidder.stop()
    for job in board.all():
        await job.close()
    await state.close()


async def test_a_call_is_bid_on_once_a_round(scene: Scene) -> None:
    await scene.bid()
    await scene.bid()
    (bid,) = scene.network.bids
    assert (bid.job_id, bid.slots, bid.device_class) == (JOB, 1, "cpu-test")
    assert len(bid.nonce) == 16
    assert bid.certificate_der


async def test_a_bid_that_was_not_delivered_is_sent_again_with_a_new_nonce(scene: Scene) -> None:
    scene.network.answers = [PeerError("unreachable"), PeerError("unreachable")]
    await scene.bid()
    assert len({bid.nonce for bid in scene.network.bids}) == 3


async def test_a_call_of_another_market_is_not_bid_on(scene: Scene) -> None:
    await scene.bidder.on_call(COORDINATOR.address, call(market=b"x" * 20), "peer")
    await scene.bidder.stop()
    assert scene.network.bids == []


async def test_another_coordinator_cannot_take_a_job_over(scene: Scene) -> None:
    await scene.bid()
    again = call(round=1, closes_at_ms=NOW + 2000, deadline_ms=NOW + 600_000)
    await scene.bidder.on_call(OTHER.address, again, "peer")
    await scene.bidder.stop()
    assert len(scene.network.bids) == 1


async def award(scene: Scene, **fields: object) -> bool:
    made = make_award(**fields)
    return await scene.bidder.on_award(COORDINATOR.address, made, market_pb2.Envelope())


async def test_an_award_becomes_work_and_is_on_disk(scene: Scene) -> None:
    await scene.bid()
    assert await award(scene)
    (job,) = scene.board.working()
    assert job.ledger.cap == 600
    assert [one.job_id for one in await scene.state.unfinished()] == ["0x" + JOB.hex()]


async def test_an_award_without_a_bid_is_refused(scene: Scene) -> None:
    assert not await award(scene)
    assert scene.board.working() == []


async def test_awards_of_one_job_are_taken_one_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.bid()
    at_once = most = asked = 0

    async def check(*_args: object) -> None:
        nonlocal at_once, most, asked
        asked += 1
        at_once += 1
        most = max(most, at_once)
        first = asked == 1
        for _ in range(20):
            await asyncio.sleep(0)
        at_once -= 1
        if first:
            raise AwardRefused("other_terms", "the first is no good")

    monkeypatch.setattr(bidding, "check_escrow", check)

    async def offer_it() -> bool:
        return await scene.bidder.on_award(COORDINATOR.address, make_award(), market_pb2.Envelope())

    tasks = [asyncio.create_task(offer_it()) for _ in range(2)]
    refused = await tasks[0]
    third = await offer_it()
    assert (refused, await tasks[1], third) == (False, True, True)
    assert most == 1


async def test_an_award_that_the_chain_does_not_show_yet_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    async def late(*_args: object) -> None:
        seen.append(1)
        if len(seen) < 3:
            raise AwardRefused("not_committed", "not there yet")

    monkeypatch.setattr(bidding, "check_escrow", late)
    await scene.bid()
    assert await award(scene)
    assert len(seen) == 3


async def test_an_award_that_the_chain_never_shows_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_args: object) -> None:
        raise AwardRefused("not_committed", "not there")

    monkeypatch.setattr(bidding, "check_escrow", never)
    monkeypatch.setattr(bidding, "_CHAIN_PATIENCE_S", 0.0)
    await scene.bid()
    assert not await award(scene)


async def test_a_coordinator_that_moved_is_followed(scene: Scene) -> None:
    await scene.bid()
    await award(scene)
    (job,) = scene.board.working()
    before = job.client
    assert await award(scene, grpc_target="127.0.0.1:2")
    assert scene.board.working() == [job]
    assert job.client is not before
    assert job.record.award.grpc_target == "127.0.0.1:2"


async def test_a_replayed_award_changes_nothing_of_a_job_at_work(scene: Scene) -> None:
    await scene.bid()
    made = make_award()
    assert await scene.bidder.on_award(COORDINATOR.address, made, market_pb2.Envelope())
    (job,) = scene.board.working()
    ledger = job.ledger.started("upscale-0", 250, 100).accepted("upscale-0", 60)
    job._put(ledger.promise(135, b"v" * 65))
    await job.save()
    before, client = job.record, job.client
    for _ in range(2):
        assert await scene.bidder.on_award(COORDINATOR.address, made, market_pb2.Envelope())
    assert scene.board.all() == [job]
    assert job.client is client
    assert job.record == before
    kept = await scene.state.job("0x" + JOB.hex())
    assert kept is not None
    assert (kept.ledger, kept.awarded_ms) == (before.ledger, before.awarded_ms)


async def test_a_job_given_up_in_silence_is_taken_up_again_by_its_award(scene: Scene) -> None:
    await scene.bid()
    await award(scene)
    (job,) = scene.board.working()
    await job.stop("coordinator_vanished")
    assert scene.board.working() == []
    assert await award(scene)
    assert scene.board.working() == [job]


async def test_a_job_that_did_not_pay_is_not_taken_up_again(scene: Scene) -> None:
    await scene.bid()
    await award(scene)
    (job,) = scene.board.working()
    await job.stop("unpaid")
    assert not await award(scene)


async def test_awarded_work_is_a_queue_for_the_next_bid(scene: Scene) -> None:
    await scene.bid()
    await award(scene)
    again = call(
        offer(units=2.5), job_id=b"k" * 32, closes_at_ms=NOW + 2000, deadline_ms=NOW + 600_000
    )
    scene.network.sent.clear()
    await scene.bidder.on_call(COORDINATOR.address, again, "peer")
    await scene.network.sent.wait()
    assert scene.network.bids[-1].queue_seconds == pytest.approx(0.05)
