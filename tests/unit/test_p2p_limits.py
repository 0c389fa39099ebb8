"""Rates, slots and bans: exact, per peer, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.p2p.limits import Bans, PeerRates, Slots, TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_bucket_gives_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=3.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.4)
    assert bucket.take(0.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(0.1, 20), st.floats(1, 20))
def test_no_peer_gets_more_than_burst_and_rate(
    steps: list[float], rate: float, burst: float
) -> None:
    clock, passed = Clock(), 0
    rates = PeerRates(rate, burst, clock)
    for step in steps:
        clock.now += step
        passed += rates.take("peer")
    assert passed <= burst + rate * sum(steps) + 1e-6


def test_time_that_runs_backwards_gives_nothing() -> None:
    bucket = TokenBucket(rate=1.0, burst=1.0, now=10.0)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)


def test_peers_do_not_share_and_memory_is_bounded() -> None:
    rates = PeerRates(1.0, 1.0, Clock(), max_peers=2)
    assert rates.take("a")
    assert rates.take("b")
    assert not rates.take("a")
    assert rates.take("c")  # pushes out b, which was heard of longest ago
    assert not rates.take("a")
    assert len(rates._buckets) == 2


def test_slots_are_bounded_by_key_and_in_all_and_come_back() -> None:
    slots = Slots(per_key=2, in_all=3)
    assert [slots.acquire("a") for _ in range(3)] == [True, True, False]
    assert [slots.acquire("b") for _ in range(2)] == [True, False]
    slots.release("a")
    assert slots.acquire("b")
    assert not slots.acquire("a")


def test_bans_end_and_are_bounded() -> None:
    clock = Clock()
    bans = Bans(10.0, clock, max_peers=2)
    bans.add("a")
    assert "a" in bans
    assert "b" not in bans
    clock.now += 10.0
    assert "a" not in bans
    for peer in "xyz":
        bans.add(peer)
    assert ["x" in bans, "y" in bans, "z" in bans] == [False, True, True]
