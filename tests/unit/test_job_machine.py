"""The job's state machine, one way through it at a time."""

from __future__ import annotations

import pytest
from job_world import (
    ALL_TO_A,
    BUDGET,
    OUT,
    SHARED,
    A,
    B,
    Run,
    attestation,
    created,
    half_delivered,
    item,
    offer,
    promises,
)

from reelmesh.scheduler.ids import NodeAddress, SubtaskId
from reelmesh.scheduler.job import events as e
from reelmesh.scheduler.job.accounts import unallocated
from reelmesh.scheduler.job.choosing import Choice, choose
from reelmesh.scheduler.job.due import due
from reelmesh.scheduler.job.effects import (
    CancelLease,
    ClearBids,
    CommitAwards,
    DeliverResult,
    PublishCall,
    RaiseVoucher,
    SendAward,
    SubmitEscrow,
    SubmitRefund,
    SubmitSettlement,
)
from reelmesh.scheduler.job.standing import standing
from reelmesh.scheduler.job.state import (
    JobState,
    Outcome,
    Phase,
    SubtaskStatus,
)
from reelmesh.scheduler.job.transition import apply, replay
from reelmesh.scheduler.job.working import BUSY_FACTOR


def test_a_job_goes_all_the_way() -> None:
    run = Run()
    assert run.effects == [SubmitEscrow()]
    run.posted()
    assert any(isinstance(x, PublishCall) for x in run.effects)
    run.award(SHARED)
    assert [type(x) for x in standing(run.state)] == [SendAward, SendAward]
    assert {run.work(A), run.work(B)} == {"upscale-0", "upscale-1"}
    assert run.work(A) == "upscale-2"
    assert run.state.phase is Phase.CONSENTING
    for provider, account in run.state.providers.items():
        run.feed(e.ConsentReceived, provider=provider, total=account.promised, signature="0x")
    assert run.state.phase is Phase.SETTLING
    assert standing(run.state) == (SubmitSettlement(),)
    run.settled(3_000, 7_000, gas=3)
    assert standing(run.state) == (DeliverResult(),)
    run.feed(e.ResultDelivered, video="v.mp4", receipt="v.json")
    assert run.state.phase is Phase.ENDED
    assert run.state.outcome is Outcome.DELIVERED
    assert replay(run.log) == run.state


def test_the_state_goes_to_json_and_back() -> None:
    run = Run().posted()
    run.award(SHARED)
    run.work(A)
    assert JobState.model_validate_json(run.state.model_dump_json()) == run.state
    events = [e.EVENT.validate_json(x.model_dump_json()) for x in run.log]
    assert replay(events) == run.state


def test_amounts_above_64_bits_survive_json() -> None:
    run = Run(budget=2**100 + 1).posted()
    back = JobState.model_validate_json(run.state.model_dump_json())
    assert back.ledger.escrowed == 2**100 + 1


def test_without_bids_the_job_ends_with_a_reason_and_a_refund() -> None:
    run = Run().posted()
    rounds = 0
    while run.state.phase is Phase.WORKING:
        event = run.pass_deadline()
        assert isinstance(event, e.CallClosed)
        rounds += 1
        run.clear({})
    assert rounds == run.state.limits.empty_rounds
    assert run.state.outcome is Outcome.FAILED
    assert run.state.reason is not None
    assert run.state.reason.code == "no_peers"
    assert standing(run.state) == (SubmitSettlement(),)


def test_a_partial_first_clearing_is_not_committed() -> None:
    run = Run().posted()
    run.feed(e.BidReceived, round=0, offer=offer(A))
    run.pass_deadline()
    assert any(isinstance(x, ClearBids) for x in run.effects)
    run.clear({"upscale-0": A})
    assert not any(isinstance(x, CommitAwards) for x in run.effects)
    assert run.round == 1


def test_chunks_raise_the_voucher_and_the_attestation_completes_it() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    name, token = run.lease(A)
    run.feed(e.DeliveryStarted, subtask=name, token=token, total_bytes=100)
    for accepted in (10, 50, 50, 20, 100):
        run.feed(e.ChunkAccepted, subtask=name, token=token, accepted_bytes=accepted)
    run.feed(e.DeliveryCompleted, subtask=name, token=token, outputs=OUT)
    run.feed(e.AttestationReceived, subtask=name, token=token, attestation=attestation(1))
    raised = [x.amount for x in run.effects if isinstance(x, RaiseVoucher)]
    assert raised == [90, 450, 900, 1_000]


def test_a_silent_provider_loses_its_lease_and_its_subtasks_are_tendered_again() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    name, _token = run.lease(A)
    assert isinstance(run.pass_deadline(), e.LeaseExpired)
    assert run.state.providers[A].absent
    assert any(isinstance(x, CancelLease) for x in run.effects)
    tender = run.state.tender
    assert tender is not None
    assert tender.round == 1
    assert set(tender.subtasks) == set(run.state.subtasks)
    before = unallocated(run.state)
    run.award({"upscale-0": B, "upscale-1": B, "upscale-2": B})
    assert unallocated(run.state) < before
    assert [run.work(B) for _ in range(3)] == ["upscale-0", "upscale-1", "upscale-2"]
    assert run.state.phase is Phase.CONSENTING
    run.feed(e.ConsentReceived, provider=B, total=3_000, signature="0x")
    assert run.state.phase is Phase.SETTLING  # nobody waits for the one that is gone
    assert name in run.state.subtasks


def test_another_awarded_provider_takes_over_when_its_cap_allows() -> None:
    run = Run().posted()
    run.award(SHARED, price=900)
    run.lease(A)
    run.work(B)
    run.pass_deadline()  # A is gone
    assert run.state.tender is None
    name, _ = run.lease(B)
    assert name == "upscale-0"
    tender = run.state.tender  # for the second there is no room under the cap: it is called again
    assert tender is not None
    assert tender.subtasks == ("upscale-2",)


def test_finished_work_is_never_done_again() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    done = run.work(A)
    before = run.state.subtasks[done]
    run.lease(A)
    run.pass_deadline()
    assert run.state.tender is not None
    assert done not in run.state.tender.subtasks
    assert run.state.subtasks[done] == before


def test_a_late_or_repeated_attestation_changes_nothing() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    name, token = run.lease(A)
    run.deliver(name, token)
    late = {"subtask": name, "token": token, "attestation": attestation(1)}
    run.feed(e.AttestationReceived, **late)
    after = run.state
    run.feed(e.AttestationReceived, **late)
    assert run.state is after


@pytest.mark.parametrize("retry", [True, False])
def test_a_failed_provider_is_excluded_unless_it_says_it_may_retry(retry: bool) -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    name, token = run.lease(A)
    run.feed(e.SubtaskFailed, subtask=name, token=token, reason="crashed", may_retry=retry)
    assert (run.state.tender is None) is retry
    if retry:
        again, token = run.lease(A)
        assert again == name
        assert run.state.subtasks[name].attempt == 2
        run.feed(e.SubtaskFailed, subtask=name, token=token, reason="crashed", may_retry=True)
        assert run.state.tender is not None


def test_three_strikes_and_a_provider_gets_nothing_more() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    for _ in range(2):
        name, token = run.lease(A)
        run.feed(e.SubtaskFailed, subtask=name, token=token, reason="crashed", may_retry=False)
    name, token = run.lease(A) if run.state.tender is None else ("", "")
    if name:
        run.feed(e.SubtaskFailed, subtask=name, token=token, reason="crashed", may_retry=False)
        assert run.state.providers[A].strikes == 3


def test_cancelling_ends_leases_and_keeps_what_was_vouchered() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    name, token = run.lease(A)
    run.feed(e.DeliveryStarted, subtask=name, token=token, total_bytes=100)
    run.feed(e.ChunkAccepted, subtask=name, token=token, accepted_bytes=30)
    run.feed(e.CancelRequested, reason="by the buyer")
    assert run.state.phase is Phase.CONSENTING
    assert run.state.providers[A].promised == 270
    assert run.state.subtasks[name].status is SubtaskStatus.OPEN
    run.pass_deadline()
    run.settled(270, 7_000, locked=2_730)
    assert run.state.phase is Phase.REFUNDING
    (refund,) = standing(run.state)
    assert isinstance(refund, SubmitRefund)
    assert refund.not_before_ms > 1_060_000
    run.feed(e.RefundConfirmed, tx="0xr", gas=1, amount=2_000)
    assert run.state.phase is Phase.ENDED
    assert run.state.ledger.paid == 1_000
    assert run.state.ledger.refunded == 9_000


def test_cancelling_while_the_award_is_on_its_way_waits_for_it() -> None:
    run = Run().posted()
    run.feed(e.BidReceived, round=0, offer=offer(A))
    run.pass_deadline()
    run.clear(ALL_TO_A)
    run.feed(e.CancelRequested, reason="by the buyer")
    assert run.state.phase is Phase.WORKING
    run.feed(e.AwardConfirmed, round=0, root="0x", tx="0xa", gas=1)
    assert run.state.phase is Phase.CONSENTING


def test_cancelling_before_the_escrow_is_confirmed_settles_once_it_is() -> None:
    run = Run()
    run.feed(e.CancelRequested, reason="by the buyer")
    assert run.state.phase is Phase.POSTING
    run.posted()
    assert run.state.phase is Phase.SETTLING


def test_a_settlement_that_does_not_add_up_is_ignored() -> None:
    run = Run().posted()
    run.feed(e.CancelRequested, reason="by the buyer")
    before = run.state
    run.settled(1, BUDGET)
    assert run.state is before


def test_an_idle_provider_that_does_not_come_is_absent_and_may_return() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    event = run.pass_deadline()
    assert isinstance(event, e.TakeUpExpired)
    assert run.state.providers[A].absent
    run.feed(e.ProviderReturned, provider=A)
    assert not run.state.providers[A].absent


def test_a_winner_that_never_comes_for_its_work_is_struck_out() -> None:
    run = Run().posted()
    for number in range(run.state.limits.strikes):
        assert run.round == number
        run.award(ALL_TO_A)
        assert isinstance(run.pass_deadline(), e.TakeUpExpired)
    run.feed(e.BidReceived, round=run.round, offer=offer(A))
    run.feed(e.BidReceived, round=run.round, offer=offer(B))
    run.pass_deadline()
    run.clear(ALL_TO_A)
    assert run.state.empty_rounds == 1
    assert not any(isinstance(x, CommitAwards) for x in standing(run.state))


def test_a_winner_that_is_busy_elsewhere_is_waited_for_longer_and_not_struck() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    run.feed(e.ProviderBusy, provider=A)
    began = run.now
    assert isinstance(run.pass_deadline(), e.TakeUpExpired)
    assert run.now - began == BUSY_FACTOR * run.state.limits.take_up_ms
    account = run.state.providers[A]
    assert (account.absent, account.strikes) == (True, 0)
    run.feed(e.ProviderReturned, provider=A)
    account = run.state.providers[A]
    assert (account.absent, account.busy) == (False, False)


def test_the_work_of_one_that_is_busy_elsewhere_may_go_to_an_idle_one() -> None:
    items = tuple(item(f"upscale-{i}") for i in range(3))
    run = Run(items=items, reserves={i.id: 100 for i in items}).posted()
    for provider in (A, B):
        run.feed(e.BidReceived, round=0, offer=offer(provider, price=50))
    run.pass_deadline()
    run.clear({"upscale-0": A, "upscale-1": A, "upscale-2": B}, price=100)
    run.feed(e.AwardConfirmed, round=0, root="0x", tx="0xa", gas=1)
    run.work(B)
    assert choose(run.state, B) == "awarded_to_others"
    run.feed(e.ProviderBusy, provider=A)
    assert isinstance(choose(run.state, B), Choice)


def test_an_award_that_is_never_confirmed_ends_the_job() -> None:
    run = Run().posted()
    run.feed(e.BidReceived, round=0, offer=offer(A))
    run.pass_deadline()
    run.clear(ALL_TO_A)
    assert isinstance(run.pass_deadline(), e.AwardExpired)
    assert run.state.phase is Phase.SETTLING
    assert run.state.maybe_leaves  # it may yet turn up on chain


def test_after_a_restart_a_lease_gets_time_to_be_found_again() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    run.lease(A)
    run.now += 500_000
    run.feed(e.Resumed)
    found = due(run.state)
    assert found is not None
    assert found.at_ms >= run.now + run.state.limits.lease_ms


def test_a_delivery_that_a_restart_broke_off_goes_on_under_its_lease_and_is_paid_once() -> None:
    run, name, token = half_delivered()
    run.state = replay(run.log)
    run.feed(e.Resumed)
    run.feed(e.DeliveryStarted, subtask=name, token=token, total_bytes=100)
    for accepted in (20, 50, 80, 100):
        run.feed(e.ChunkAccepted, subtask=name, token=token, accepted_bytes=accepted)
    run.feed(e.DeliveryCompleted, subtask=name, token=token, outputs=OUT)
    run.feed(e.AttestationReceived, subtask=name, token=token, attestation=attestation(1))
    assert promises(run) == [450, 720, 900, 1_000]
    assert run.state.subtasks[name].attempt == 1


def test_a_subtask_leased_again_to_its_provider_is_paid_once() -> None:
    run, name, token = half_delivered()
    run.feed(e.SubtaskFailed, subtask=name, token=token, reason="crashed", may_retry=True)
    assert run.state.subtasks[name].advances == {A: 450}
    assert run.work(A) == name
    assert promises(run) == [450, 900, 1_000]
    account = run.state.providers[A]
    assert (account.promised, account.earned, account.sunk) == (1_000, 1_000, 0)


def test_what_was_promised_for_a_subtask_leaves_room_to_lease_it_again() -> None:
    """A cap that just covers the plan covers it still after a broken delivery."""
    run, name, token = half_delivered()
    tight = run.state.providers[A].model_copy(update={"cap": 3_000})
    run.state = run.state.model_copy(update={"providers": {A: tight}})
    run.feed(e.SubtaskFailed, subtask=name, token=token, reason="crashed", may_retry=True)
    assert run.state.tender is None
    assert [run.work(A) for _ in range(3)] == list(ALL_TO_A)
    assert run.state.providers[A].promised == 3_000


def test_the_coordinators_own_disk_strikes_nobody_and_pays_once() -> None:
    run, name, token = half_delivered()
    for _ in range(3):
        run.feed(e.SubtaskFailed, subtask=name, token=token, reason="coordinator_storage")
        name, token = run.lease(A)
        run.feed(e.DeliveryStarted, subtask=name, token=token, total_bytes=100)
        run.feed(e.ChunkAccepted, subtask=name, token=token, accepted_bytes=50)
    assert run.state.providers[A].strikes == 0
    assert len(promises(run)) == 1
    assert run.state.providers[A].promised == 450


def test_a_provider_that_broke_off_keeps_its_part_when_another_takes_over() -> None:
    run, name, token = half_delivered()
    run.feed(e.SubtaskFailed, subtask=name, token=token, reason="crashed", may_retry=False)
    run.award({name: B})
    assert run.work(B) == name
    assert run.state.subtasks[name].advances == {A: 450}
    paid = {who: account.promised for who, account in run.state.providers.items()}
    assert paid == {A: 450, B: 1_000}


def test_the_deadline_ends_the_work_and_pays_what_was_done() -> None:
    run = Run().posted()
    run.award(ALL_TO_A)
    run.work(A)
    run.lease(A)
    run.now = 999_000
    run.feed(e.WorkDeadlineReached)
    assert run.state.outcome is Outcome.FAILED
    assert run.state.providers[A].promised == 1_000


def test_an_idle_provider_shortens_the_queue_of_a_busy_one() -> None:
    items = tuple(item(f"upscale-{i}") for i in range(3))
    run = Run(items=items, reserves={i.id: 100 for i in items}).posted()
    placements = {"upscale-0": A, "upscale-1": A, "upscale-2": B}
    for provider, seconds in ((A, 10.0), (B, 1.0)):
        run.feed(e.BidReceived, round=0, offer=offer(provider, price=50, seconds=seconds))
    run.pass_deadline()
    run.clear(placements, price=100)
    run.feed(e.AwardConfirmed, round=0, root="0x", tx="0xa", gas=1)
    run.lease(A)
    run.work(B)
    name, _ = run.lease(B)
    assert name == "upscale-1"


def test_the_next_run_does_not_wait_until_a_result_has_arrived() -> None:
    run, first, token = half_delivered()
    second, other = run.lease(A)
    assert second != first
    assert choose(run.state, A) == "slots_taken"
    run.feed(e.DeliveryStarted, subtask=second, token=other, total_bytes=100)
    assert choose(run.state, A) == "slots_taken"  # two results on their way are enough
    run.deliver(first, token)
    run.feed(e.AttestationReceived, subtask=first, token=token, attestation=attestation(1))
    assert choose(run.state, A) == "inputs_not_ready"  # a slot is free again


def test_a_provider_that_delivers_and_takes_nothing_more_is_not_absent() -> None:
    run, first, token = half_delivered()
    run.feed(e.ProgressReceived, subtask=first, token=token)
    found = due(run.state)
    assert found is not None
    assert isinstance(found.event, e.LeaseExpired)


def test_foreign_events_leave_the_state_alone() -> None:
    run = Run().posted()
    run.award(SHARED)
    stranger = NodeAddress("0x" + "cC" * 20)
    for event in (
        e.LeaseRequested(at_ms=run.now, provider=stranger, token="00"),
        e.ProgressReceived(at_ms=run.now, subtask=SubtaskId("nothing"), token="00"),
        e.ConsentReceived(at_ms=run.now, provider=A, total=5, signature="0x"),
        e.EscrowRejected(at_ms=run.now, reason="late"),
        e.RefundConfirmed(at_ms=run.now, tx="", gas=0, amount=1),
        created(),
    ):
        assert apply(run.state, event) == (run.state, ())
