"""The coordinator where others misbehave: bids without end, a chain that moved on without it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from reelmesh.contracts import merkle
from reelmesh.contracts.errors import ChainInconsistent
from reelmesh.contracts.events import Refunded
from reelmesh.contracts.terms import JobState as ChainJob
from reelmesh.contracts.terms import Phase as ChainPhase
from reelmesh.node.coordinator import settling, work
from reelmesh.node.coordinator.bids import BidDesk
from reelmesh.node.coordinator.chainside import Found
from reelmesh.node.coordinator.work import WorkDesk
from reelmesh.proto import market_pb2, work_pb2
from reelmesh.scheduler.ids import NodeAddress
from reelmesh.scheduler.job.state import Leaf, Phase

JOB = b"j" * 32
A = NodeAddress(str(to_checksum_address("0x" + "aa" * 20)))


class Job:
    """Keeps what it is fed and what it is asked to show."""

    def __init__(self, services: Any, state: Any) -> None:
        self.services, self.state = services, state
        terms = SimpleNamespace(terms=lambda: "terms")
        self.record = SimpleNamespace(job_bytes=JOB, terms=terms)
        self.ended = False
        self.fed: list[Any] = []
        self.shown: list[Any] = []

    async def feed(self, event: Any) -> Any:
        self.fed.append(event)
        return self.state

    def note(self, kind: str, data: Any) -> None:
        self.shown.append((kind, data))


class Market:
    """Keeps what is sent to the chain."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    async def award(self, *args: Any) -> None:
        self.sent.append(("award", *args))

    async def cancel(self, *args: Any) -> None:
        self.sent.append(("cancel", *args))


def job(state: Any, market: Market | None = None) -> Any:
    return Job(SimpleNamespace(clock_ms=lambda: 5_000, market=market), state)


def found(monkeypatch: pytest.MonkeyPatch, phase: ChainPhase, *events: Any) -> None:
    async def look_up(_services: Any, _record: Any) -> Found:
        return Found(ChainJob(JOB, phase, 7), events)

    monkeypatch.setattr(settling, "look_up", look_up)


async def test_refused_bids_do_not_fill_the_feed() -> None:
    here = job(SimpleNamespace(tender=None, rounds=1))
    desk = BidDesk(here.services, {JOB: here})
    for number in range(500):
        sender = NodeAddress("0x" + f"{number // 2:040x}")
        reply = await desk.take(sender, "peer", market_pb2.Bid(job_id=JOB), market_pb2.Envelope())
        assert not reply.accepted
    assert len(here.shown) == 100
    assert len({data["provider"] for _, data in here.shown}) == 100
    here.state.rounds = 2
    await desk.take(A, "peer", market_pb2.Bid(job_id=JOB), market_pb2.Envelope())
    assert len(here.shown) == 101
    here.ended = True
    here.state.rounds = 3
    await desk.take(A, "peer", market_pb2.Bid(job_id=JOB), market_pb2.Envelope())
    assert len(here.shown) == 101


async def test_a_job_that_others_refunded_on_chain_comes_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = job(SimpleNamespace(providers={}, leaves=()))
    found(monkeypatch, ChainPhase.CLOSED, Refunded(6, "0x1", 0, JOB, 10))
    await settling.submit_settlement(here)
    assert [event.type for event in here.fed] == ["SettlementRejected"]


async def test_awards_that_a_reorganisation_took_away_are_committed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaves = (Leaf(provider=A, cap=100),)
    market = Market()
    owing = SimpleNamespace(providers={A: SimpleNamespace(promised=90)}, leaves=leaves)
    here = job(owing, market)
    found(monkeypatch, ChainPhase.OPEN)
    with pytest.raises(ChainInconsistent):
        await settling.submit_settlement(here)
    root, total = merkle.sum_root([(A, 100)])
    assert market.sent == [("award", "terms", root, total)]
    assert here.fed == []


async def test_without_work_done_the_budget_comes_back_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market = Market()
    here = job(SimpleNamespace(providers={A: SimpleNamespace(promised=0)}, leaves=()), market)
    found(monkeypatch, ChainPhase.OPEN)
    await settling.submit_settlement(here)
    assert market.sent == [("cancel", "terms")]


@pytest.mark.parametrize(
    ("failed_lately", "reason"), [(True, "coordinator_storage"), (False, "failed")]
)
async def test_a_full_disk_here_is_an_excuse_only_where_it_was_full(
    monkeypatch: pytest.MonkeyPatch, failed_lately: bool, reason: str
) -> None:
    fed: list[Any] = []

    async def feed(event: Any) -> None:
        fed.append(event)

    lease = SimpleNamespace(provider="0xA")
    monkeypatch.setattr(work, "held", lambda *_: lease)
    job: Any = SimpleNamespace(state=None, feed=feed, disk_failed_lately=lambda: failed_lately)
    desk = WorkDesk(SimpleNamespace(clock_ms=lambda: 5), {b"j": job})  # type: ignore[arg-type]
    request = work_pb2.FailRequest(job_id=b"j", subtask="s", reason="coordinator_storage")
    await desk.fail("0xA", request)
    assert [event.reason for event in fed] == [reason]


@pytest.mark.parametrize(
    ("phase", "what"), [(Phase.WORKING, "idle"), (Phase.CONSENTING, "settlement")]
)
async def test_who_has_no_free_slot_is_heard_and_asked_for_consent(phase: Phase, what: str) -> None:
    fed: list[Any] = []

    async def feed(event: Any) -> None:
        fed.append(event)

    account = SimpleNamespace(busy=False, absent=False, consent=None, promised=7)
    offer = SimpleNamespace(slots=1)
    state = SimpleNamespace(
        phase=phase, providers={A: account}, offers={A: offer}, subtasks={}, outcome=None
    )
    job: Any = SimpleNamespace(state=state, feed=feed, record=SimpleNamespace(job_bytes=b"j"))
    desk = WorkDesk(SimpleNamespace(clock_ms=lambda: 5), {b"j": job})  # type: ignore[arg-type]
    reply = await desk.lease(A, work_pb2.LeaseRequest(job_id=b"j", busy=True))
    assert reply.WhichOneof("what") == what
    assert (reply.idle, reply.settlement.total) in (("busy", ""), ("", "7"))
    assert [event.type for event in fed] == ["ProviderBusy"]
