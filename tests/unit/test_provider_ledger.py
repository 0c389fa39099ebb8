"""What a job owes, what it promised, and when the provider stops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import Domain, Voucher
from reelmesh.node.provider.ledger import BadVoucher, JobLedger
from reelmesh.node.provider.vouchers import Parties, take_voucher
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import work_pb2

COORDINATOR, PROVIDER, STRANGER = NodeKey.generate(), NodeKey.generate(), NodeKey.generate()
DOMAIN = Domain(31337, STRANGER.address)
JOB = b"j" * 32
PARTIES = Parties(DOMAIN, JOB, COORDINATOR.address, PROVIDER.address)


def voucher(
    amount: int,
    *,
    key: NodeKey = COORDINATOR,
    job: bytes = JOB,
    provider: str = PROVIDER.address,
    domain: Domain = DOMAIN,
) -> work_pb2.SignedVoucher:
    signature = eip712.sign(domain, Voucher(job, provider, amount), key)
    return work_pb2.SignedVoucher(job_id=JOB, amount=str(amount), signature=signature)


def test_chunks_earn_nine_tenths_and_the_attestation_the_rest() -> None:
    ledger = JobLedger(cap=5000).started("a", 1000, 100)
    assert ledger.required == 0
    assert ledger.accepted("a", 50).required == 450
    assert ledger.accepted("a", 100).required == 900
    assert ledger.accepted("a", 100).finished("a", 1000).required == 1000


def test_pay_that_lags_more_than_one_chunk_is_behind() -> None:
    ledger = JobLedger(cap=5000).started("a", 1000, 100).accepted("a", 20)
    assert ledger.required == 180
    assert not ledger.promise(90, b"").behind(slack=90)
    assert ledger.promise(89, b"").behind(slack=90)


def test_nothing_above_the_cap_is_asked_for() -> None:
    ledger = JobLedger(cap=800).started("a", 1000, 100).accepted("a", 100).promise(800, b"")
    assert not ledger.behind(slack=0)


def test_a_broken_delivery_keeps_what_it_earned() -> None:
    ledger = JobLedger(cap=5000).started("a", 1000, 100).accepted("a", 50).promise(450, b"")
    again = ledger.stopped("a").started("a", 1000, 100)
    assert (again.advances, again.required) == ({"a": 450}, 450)
    assert again.stopped("a") == again.stopped("a").stopped("a")


def test_a_subtask_sent_again_earns_only_what_goes_beyond_the_first_time() -> None:
    ledger = JobLedger(cap=5000).started("a", 1000, 100).accepted("a", 50).promise(450, b"")
    ledger = ledger.stopped("a").started("a", 1000, 200)
    assert ledger.accepted("a", 100).required == 450
    assert ledger.needs("a", 1000) == 1000
    ledger = ledger.accepted("a", 150)
    assert ledger.required == 675
    done = ledger.finished("a", 1000)
    assert (done.required, done.advances, done.sending) == (1000, {}, {})
    assert done.started("a", 1000, 100).accepted("a", 100).required == 1000


def test_a_later_failure_never_lowers_the_advance() -> None:
    ledger = JobLedger(cap=5000).started("a", 1000, 100).accepted("a", 50).promise(450, b"")
    again = ledger.stopped("a").started("a", 1000, 100).accepted("a", 10).stopped("a")
    assert (again.advances, again.required) == ({"a": 450}, 450)


def test_what_was_never_promised_does_not_stay_owed() -> None:
    ledger = JobLedger(cap=5000).started("a", 1000, 100).accepted("a", 50).promise(90, b"")
    assert ledger.stopped("a").required == 90


@pytest.mark.parametrize("accepted", [101, 10])
def test_acknowledgements_only_rise_and_never_pass_what_was_sent(accepted: int) -> None:
    ledger = JobLedger(cap=5000).started("a", 1000, 100).accepted("a", 20)
    with pytest.raises(BadVoucher):
        ledger.accepted("a", accepted)


def test_a_total_below_the_best_voucher_is_not_agreed_to() -> None:
    ledger = JobLedger(cap=5000).promise(1000, b"")
    assert not ledger.may_agree(999)
    assert ledger.may_agree(1000)
    assert JobLedger(cap=5000).may_agree(0)


def test_a_total_below_the_work_done_is_not_agreed_to() -> None:
    assert not JobLedger(cap=5000).finished("a", 1000).may_agree(0)


def test_it_comes_back_from_disk_as_it_was() -> None:
    ledger = JobLedger(cap=10**30).started("a", 7, 3).promise(10**29, b"\xff" * 65).agree(5)
    assert JobLedger.model_validate_json(ledger.model_dump_json()) == ledger


def test_a_genuine_voucher_raises_the_promise() -> None:
    ledger = take_voucher(JobLedger(cap=100), voucher(60), PARTIES)
    assert ledger.promised == 60
    assert take_voucher(ledger, voucher(40), PARTIES) == ledger


@pytest.mark.parametrize(
    "signed",
    [
        voucher(60, key=STRANGER),
        voucher(60, job=b"k" * 32),
        voucher(60, provider=STRANGER.address),
        voucher(60, domain=Domain(1, STRANGER.address)),
        work_pb2.SignedVoucher(job_id=JOB, amount="60", signature=b""),
        work_pb2.SignedVoucher(job_id=JOB, amount="60", signature=b"\x1b" * 65),
        work_pb2.SignedVoucher(job_id=JOB, amount="-1", signature=voucher(1).signature),
        work_pb2.SignedVoucher(job_id=JOB, amount="9" * 40, signature=voucher(1).signature),
        work_pb2.SignedVoucher(job_id=JOB, amount="61", signature=voucher(60).signature),
        work_pb2.SignedVoucher(job_id=b"k" * 32, amount="60", signature=voucher(60).signature),
    ],
)
def test_a_false_voucher_is_refused(signed: work_pb2.SignedVoucher) -> None:
    with pytest.raises(BadVoucher):
        take_voucher(JobLedger(cap=100), signed, PARTIES)


@given(st.integers(1, 10**24), st.lists(st.integers(1, 1000), min_size=1, max_size=30))
def test_what_is_required_only_rises_and_ends_at_the_price(price: int, sizes: list[int]) -> None:
    total, sent, before = sum(sizes), 0, 0
    ledger = JobLedger(cap=price).started("a", price, total)
    for size in sizes:
        sent += size
        ledger = ledger.accepted("a", sent)
        assert before <= ledger.required <= price
        before = ledger.required
    assert ledger.required == price * 90 * total // (100 * total)
    assert ledger.finished("a", price).required == price
