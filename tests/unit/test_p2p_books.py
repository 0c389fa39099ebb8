"""Ads and open calls that a node knows: the newest, the live, a bounded number."""

from __future__ import annotations

from typing import cast

from reelmesh.node.p2p.books import AdBook, CallBook, OpenCall
from reelmesh.proto import market_pb2 as pb
from reelmesh.scheduler.ids import NodeAddress

NOW = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def _who(n: int) -> NodeAddress:
    return cast("NodeAddress", f"0x{n:040x}")


def _ad(issued: int, expires: int) -> pb.CapacityAd:
    return pb.CapacityAd(issued_at_ms=issued, expires_at_ms=expires)


def _call(n: int, closes: int, sender: int = 0, round_: int = 0, issued: int = NOW) -> OpenCall:
    call = pb.Call(
        job_id=n.to_bytes(32, "big"), round=round_, issued_at_ms=issued, closes_at_ms=closes
    )
    return OpenCall(_who(sender), call, pb.Envelope(payload=call.SerializeToString()))


def test_the_newest_ad_counts_until_it_expires() -> None:
    clock = Clock()
    book = AdBook(clock)
    assert book.put(_who(1), _ad(10, NOW + 100))
    assert not book.put(_who(1), _ad(10, NOW + 500))
    assert not book.put(_who(1), _ad(9, NOW + 500))
    assert book.put(_who(1), _ad(11, NOW + 200))
    assert book.get(_who(1)) == _ad(11, NOW + 200)
    assert dict(book.items()) == {_who(1): _ad(11, NOW + 200)}
    clock.now = NOW + 200
    assert book.get(_who(1)) is None
    assert len(book) == 0


def test_a_full_ad_book_drops_what_expires_first() -> None:
    book = AdBook(Clock(), max_ads=2)
    book.put(_who(1), _ad(1, NOW + 300))
    book.put(_who(2), _ad(1, NOW + 100))
    assert book.put(_who(3), _ad(1, NOW + 200))
    assert {who for who, _ in book.items()} == {_who(1), _who(3)}
    assert not book.put(_who(4), _ad(1, NOW + 1))  # not even kept


def test_calls_are_handed_out_until_they_close() -> None:
    clock = Clock()
    book = CallBook(clock)
    book.put(_call(1, NOW + 100))
    book.put(_call(2, NOW + 200))
    assert [c.call.closes_at_ms for c in book.entries()] == [NOW + 200, NOW + 100]
    clock.now = NOW + 100
    assert [c.call.closes_at_ms for c in book.entries()] == [NOW + 200]


def test_a_new_issue_of_a_call_replaces_the_old_and_never_the_other_way() -> None:
    book = CallBook(Clock())
    book.put(_call(1, NOW + 100, issued=NOW))
    book.put(_call(1, NOW + 300, issued=NOW + 1))
    book.put(_call(1, NOW + 900, issued=NOW))
    assert [c.call.closes_at_ms for c in book.entries()] == [NOW + 300]


def test_one_sender_does_not_push_out_anothers_calls() -> None:
    book = CallBook(Clock(), max_calls=10, per_sender=3)
    book.put(_call(0, NOW + 1, sender=1))
    for n in range(50):
        book.put(_call(n, NOW + 1000 + n, sender=2))
    assert sum(c.sender == _who(1) for c in book.entries()) == 1
    assert sum(c.sender == _who(2) for c in book.entries()) == 3


def test_the_book_is_bounded_over_all_senders() -> None:
    book = CallBook(Clock(), max_calls=5)
    for n in range(50):
        book.put(_call(n, NOW + 1000 + n, sender=n))
    assert len(book.entries()) == 5


def test_withdrawal_is_by_sender_job_and_round() -> None:
    book = CallBook(Clock())
    for sender in (1, 2):
        for round_ in (0, 1):
            book.put(_call(7, NOW + 100, sender, round_))
    job = (7).to_bytes(32, "big")
    book.withdraw(_who(1), job, 0)
    assert {(c.sender, c.call.round) for c in book.entries()} == {
        (_who(1), 1),
        (_who(2), 0),
        (_who(2), 1),
    }
    book.withdraw(_who(2), job)
    assert {(c.sender, c.call.round) for c in book.entries()} == {(_who(1), 1)}
