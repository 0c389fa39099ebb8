"""A message counts within its time and once, whatever others send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.node.p2p.freshness import (
    MAX_SKEW_MS,
    Expired,
    FromTheFuture,
    LivesTooLong,
    ReplayCache,
    Replayed,
    TooManyLive,
    check_window,
)

NOW = 1_800_000_000_000
LIFE = 60_000


@pytest.mark.parametrize(
    ("issued", "expires", "error"),
    [
        (NOW, NOW + LIFE, None),
        (NOW + MAX_SKEW_MS, NOW + MAX_SKEW_MS + 1, None),
        (NOW + MAX_SKEW_MS + 1, NOW + MAX_SKEW_MS + 2, FromTheFuture),
        (NOW - LIFE, NOW, None),
        (NOW - LIFE, NOW - MAX_SKEW_MS, None),
        (NOW - LIFE, NOW - MAX_SKEW_MS - 1, Expired),
        (NOW, NOW + LIFE + 1, LivesTooLong),
        (NOW, NOW - 1, LivesTooLong),
        (0, 2**64 - 1, LivesTooLong),
        (0, 0, Expired),
    ],
)
def test_window(issued: int, expires: int, error: type[Exception] | None) -> None:
    if error is None:
        check_window(issued, expires, NOW, LIFE)
    else:
        with pytest.raises(error):
            check_window(issued, expires, NOW, LIFE)


def test_a_key_is_admitted_once_until_it_can_no_longer_be_replayed() -> None:
    cache = ReplayCache(per_sender=1)
    cache.admit("a", b"k", NOW + 10, NOW)
    with pytest.raises(Replayed):
        cache.admit("a", b"k", NOW + 10, NOW + 10 + MAX_SKEW_MS)
    cache.admit("b", b"k", NOW + 10, NOW)  # another sender's
    with pytest.raises(TooManyLive):
        cache.admit("a", b"l", NOW + 10, NOW + 10 + MAX_SKEW_MS)
    cache.admit("a", b"l", NOW + LIFE, NOW + 11 + MAX_SKEW_MS)


def test_a_forgotten_key_may_be_tried_again() -> None:
    cache = ReplayCache()
    cache.admit("a", b"k", NOW, NOW)
    cache.forget("a", b"k")
    cache.forget("nobody", b"k")
    cache.admit("a", b"k", NOW, NOW)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 20), st.integers(1, 1000)), max_size=200)
)
def test_memory_is_bounded_and_nothing_live_passes_twice(
    events: list[tuple[int, int, int]],
) -> None:
    cache, seen, now = ReplayCache(max_senders=9, per_sender=4), set(), NOW
    for sender, key, step in events:
        now += step
        name = (f"s{sender}", bytes([key]))
        try:
            cache.admit(*name, now + LIFE, now)
        except (Replayed, TooManyLive):
            continue
        # Nothing expires in so short a time, and there is room for every sender.
        assert name not in seen
        seen.add(name)
    assert len(cache) <= 9 * 4


def test_many_senders_do_not_grow_it_without_bound() -> None:
    cache = ReplayCache(max_senders=10, per_sender=2)
    for n in range(1000):
        cache.admit(f"s{n}", b"k", NOW + LIFE, NOW)
    assert len(cache) <= 10


def test_expired_senders_make_room_before_live_ones() -> None:
    cache = ReplayCache(max_senders=2, per_sender=2)
    cache.admit("live", b"k", NOW + LIFE, NOW)
    cache.admit("dead", b"k", NOW, NOW)
    later = NOW + MAX_SKEW_MS + 1
    cache.admit("new", b"k", later + LIFE, later)
    with pytest.raises(Replayed):
        cache.admit("live", b"k", NOW + LIFE, later)
