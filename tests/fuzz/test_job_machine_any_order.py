"""The job's machine against any order of events: honest, late, repeated, foreign and absurd ones.

What must hold whatever happens: money is conserved and stays under the caps, no subtask is done
or paid twice, a replay of the log gives the same state, misfits change nothing; and when the world
is fair from some moment on, the job comes to its end.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from job_world import OUT, ZERO, attestation, created, item, offer

from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job import effects as fx
from reelmesh.scheduler.job import events as e
from reelmesh.scheduler.job.accounts import leased_price
from reelmesh.scheduler.job.due import due
from reelmesh.scheduler.job.standing import standing
from reelmesh.scheduler.job.state import (
    JobState,
    Outcome,
    Phase,
    Placement,
    SubtaskStatus,
    TenderPhase,
)
from reelmesh.scheduler.job.transition import apply, create, replay

PROVIDERS = [NodeAddress("0x" + digit * 40) for digit in "123"]
BUDGET = 100_000
NAMES = [SubtaskId(f"upscale-{i}") for i in range(5)]
NEEDS: list[tuple[SubtaskId, ...]] = [(), (), (NAMES[0],), (NAMES[0], NAMES[1]), (NAMES[3],)]
FAIR_STEPS = 3_000


class JobMachine(RuleBasedStateMachine):
    """The world does anything; `teardown` then lets it be fair."""

    @initialize(headroom=st.sampled_from([1, 2, 4]), kind_steps=st.sampled_from([0, 2, 4, 4, 4, 6]))
    def begin(self, headroom: int, kind_steps: int) -> None:
        items = tuple(item(name, *needs) for name, needs in zip(NAMES, NEEDS, strict=True))
        reserve = Wei(BUDGET // headroom // len(NAMES))
        reserves = dict.fromkeys(NAMES, reserve)
        first = created(budget=BUDGET, deadline_ms=3_600_000, items=items, reserves=reserves)
        self.log: list[e.Event] = [first]
        self.state: JobState = create(first)
        self.now = 1_000
        self.tokens = 0
        self.done: dict[SubtaskId, Any] = {}
        self.prices: dict[tuple[SubtaskId, NodeAddress], int] = {}
        self.promised: dict[NodeAddress, int] = {}
        for _ in range(kind_steps):  # posted, closed, cleared, awarded; then work
            if self.state.phase is Phase.POSTING:
                self.escrow_comes()
            elif self.state.tender is not None:
                self.fair_tender(PROVIDERS)
            else:
                self.a_provider_works(PROVIDERS[0], finish=True)

    def feed(self, event: e.Event) -> JobState:
        before = self.state
        after, once = apply(before, event)
        again, once_again = apply(before, event)
        assert (after, once) == (again, once_again)
        if after is not before:
            self.log.append(event)
        self.state = after
        for name, subtask in after.subtasks.items():
            if subtask.lease is not None:
                key = name, subtask.lease.provider
                self.prices[key] = max(subtask.lease.price, self.prices.get(key, 0))
        self.check_vouchers(once)
        return after

    def check_vouchers(self, once: tuple[Any, ...]) -> None:
        for effect in once:
            if isinstance(effect, fx.RaiseVoucher):
                account = self.state.providers[effect.provider]
                assert self.promised.get(effect.provider, 0) < effect.amount <= account.cap
                assert effect.amount == account.promised
                self.promised[effect.provider] = effect.amount

    # What the world may do, at any time and in any order.

    @rule(seconds=st.sampled_from([0, 1, 1, 5, 5, 12, 30, 400]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * 1_000

    @rule()
    def a_deadline_is_noticed(self) -> None:
        found = due(self.state)
        if found is not None and found.at_ms <= self.now:
            before = self.state
            self.feed(found.event.model_copy(update={"at_ms": self.now}))
            assert self.state is not before, f"a due {found.event.type} must change something"

    @rule(chance=st.integers(0, 19))
    def escrow_is_decided(self, chance: int) -> None:
        if chance:
            self.feed(e.EscrowConfirmed(at_ms=self.now, tx="0xp", gas=1))
        else:
            self.feed(e.EscrowRejected(at_ms=self.now, reason="not_posted"))

    @precondition(lambda self: self.state.tender is not None)
    @rule(skip=st.lists(st.sampled_from(PROVIDERS), max_size=2))
    def the_tender_moves_on(self, skip: list[NodeAddress]) -> None:
        """Kindly: without this, hardly any run would ever reach an award."""
        self.fair_tender([who for who in PROVIDERS if who not in skip])

    @precondition(lambda self: bool(self.state.providers))
    @rule(who=st.sampled_from(PROVIDERS), finish=st.booleans())
    def a_provider_works(self, who: NodeAddress, finish: bool) -> None:
        self.a_lease_is_asked_for(who)
        for name, subtask in list(self.state.subtasks.items()):
            if finish and subtask.lease is not None and subtask.lease.provider == who:
                self.deliver(name, subtask.lease.token)

    @precondition(lambda self: self.state.phase is Phase.POSTING)
    @rule()
    def escrow_comes(self) -> None:
        self.feed(e.EscrowConfirmed(at_ms=self.now, tx="0xp", gas=1))

    @rule(
        who=st.sampled_from(PROVIDERS),
        price=st.integers(1, 20_000),
        slots=st.integers(1, 3),
        late=st.integers(0, 1),
    )
    def a_bid_comes(self, who: NodeAddress, price: int, slots: int, late: int) -> None:
        number = self.state.rounds - 1 + late
        event = e.BidReceived(
            at_ms=self.now, round=max(0, number), offer=offer(who, price, slots=slots)
        )
        self.feed(event)

    @rule(choices=st.lists(st.sampled_from([*PROVIDERS, None]), min_size=5, max_size=5))
    def the_auction_ends(self, choices: list[NodeAddress | None]) -> None:
        self.feed(self.cleared(choices))

    def cleared(self, choices: list[NodeAddress | None]) -> e.Cleared:
        tender = self.state.tender
        reserves = tender.reserves if tender is not None else {}
        placements = tuple(
            Placement(subtask=name, provider=who, price=Wei(reserves.get(name, 5)))
            for name, who in zip(NAMES, choices, strict=True)
            if who is not None
        )
        number = tender.round if tender is not None else 0
        return e.Cleared(
            at_ms=self.now, round=number, placements=placements, losses=(), unplaced={}
        )

    @rule(chance=st.integers(0, 9))
    def the_award_is_decided(self, chance: int) -> None:
        number = max(0, self.state.rounds - 1)
        if chance:
            self.feed(e.AwardConfirmed(at_ms=self.now, round=number, root="0xr", tx="0xa", gas=1))
        else:
            self.feed(e.AwardRejected(at_ms=self.now, round=number, reason="reverted"))

    @rule(who=st.sampled_from(PROVIDERS))
    def a_lease_is_asked_for(self, who: NodeAddress) -> None:
        self.tokens += 1
        self.feed(e.LeaseRequested(at_ms=self.now, provider=who, token=f"{self.tokens:032x}"))

    @rule(name=st.sampled_from(NAMES), accepted=st.integers(0, 120), total=st.integers(1, 100))
    def a_delivery_goes_on(self, name: SubtaskId, accepted: int, total: int) -> None:
        token = self.token(name)
        self.feed(e.DeliveryStarted(at_ms=self.now, subtask=name, token=token, total_bytes=total))
        event = e.ChunkAccepted(at_ms=self.now, subtask=name, token=token, accepted_bytes=accepted)
        self.feed(event)

    @precondition(lambda self: bool(self.state.providers))
    @rule(who=st.sampled_from(PROVIDERS), accepted=st.integers(1, 99), expires=st.booleans())
    def a_delivery_breaks_off(self, who: NodeAddress, accepted: int, expires: bool) -> None:
        self.a_lease_is_asked_for(who)
        name = self.leased(NAMES[0])
        self.a_delivery_goes_on(name, accepted, 100)
        if expires:
            self.now += 600_000
            self.a_stray_expiry(name, self.state.subtasks[name].attempt)
        else:
            self.a_run_fails(name, "crashed", retry=True)

    @rule(name=st.sampled_from(NAMES))
    def a_result_comes(self, name: SubtaskId) -> None:
        self.deliver(name, self.token(name))

    def deliver(self, name: SubtaskId, token: str) -> None:
        at_ms, attempt = self.now, self.state.subtasks[name].attempt
        self.feed(e.DeliveryStarted(at_ms=at_ms, subtask=name, token=token, total_bytes=100))
        self.feed(e.ChunkAccepted(at_ms=at_ms, subtask=name, token=token, accepted_bytes=100))
        self.feed(e.DeliveryCompleted(at_ms=at_ms, subtask=name, token=token, outputs=OUT))
        signed = attestation(attempt)
        event = e.AttestationReceived(at_ms=at_ms, subtask=name, token=token, attestation=signed)
        self.feed(event)
        after = self.state
        self.feed(event)
        assert self.state is after, "a repeated attestation must change nothing"

    @rule(
        name=st.sampled_from(NAMES),
        reason=st.sampled_from(["crashed", "cancelled", "bad_result"]),
        retry=st.booleans(),
    )
    def a_run_fails(self, name: SubtaskId, reason: str, retry: bool) -> None:
        name = self.leased(name)
        self.feed(
            e.SubtaskFailed(
                at_ms=self.now,
                subtask=name,
                token=self.token(name),
                reason=reason,
                may_retry=retry,
            )
        )

    @rule(name=st.sampled_from(NAMES))
    def progress_comes(self, name: SubtaskId) -> None:
        self.feed(e.ProgressReceived(at_ms=self.now, subtask=name, token=self.token(name)))

    @rule(name=st.sampled_from(NAMES), attempt=st.integers(0, 3))
    def a_stray_expiry(self, name: SubtaskId, attempt: int) -> None:
        self.feed(e.LeaseExpired(at_ms=self.now, subtask=name, attempt=attempt))
        self.feed(e.TakeUpExpired(at_ms=self.now, subtask=name))

    @rule(who=st.sampled_from(PROVIDERS))
    def a_provider_returns(self, who: NodeAddress) -> None:
        self.feed(e.ProviderReturned(at_ms=self.now, provider=who))

    @rule(who=st.sampled_from(PROVIDERS))
    def a_provider_is_busy(self, who: NodeAddress) -> None:
        self.feed(e.ProviderBusy(at_ms=self.now, provider=who))

    @rule(who=st.sampled_from(PROVIDERS))
    def an_award_is_declined(self, who: NodeAddress) -> None:
        self.feed(e.AwardDeclined(at_ms=self.now, provider=who, reason="refused"))

    @rule(who=st.sampled_from(PROVIDERS), right=st.booleans())
    def a_consent_comes(self, who: NodeAddress, right: bool) -> None:
        account = self.state.providers.get(who)
        total = account.promised if account is not None and right else 123_456
        self.feed(e.ConsentReceived(at_ms=self.now, provider=who, total=Wei(total), signature="0x"))

    @rule()
    def the_coordinator_restarts(self) -> None:
        self.state = replay(self.log)
        self.feed(e.Resumed(at_ms=self.now))

    @rule(chance=st.integers(0, 19))
    def the_buyer_cancels(self, chance: int) -> None:
        if chance == 0:
            self.feed(e.CancelRequested(at_ms=self.now, reason="by the buyer"))

    @rule()
    def the_chain_settles(self) -> None:
        self.settle()

    def settle(self) -> None:
        accounts = self.state.providers.values()
        paid = sum(a.promised for a in accounts)
        locked = sum(a.cap - a.promised for a in accounts if a.consent is None)
        self.feed(
            e.SettlementConfirmed(
                at_ms=self.now,
                tx="0xs",
                gas=1,
                attestations_root=ZERO,
                paid=Wei(paid),
                refunded=Wei(BUDGET - paid - locked),
                locked=Wei(locked),
            )
        )

    @rule(amount=st.integers(0, BUDGET))
    def stray_endings(self, amount: int) -> None:
        self.feed(e.RefundConfirmed(at_ms=self.now, tx="0x", gas=1, amount=Wei(amount)))
        self.feed(e.ResultDelivered(at_ms=self.now, video="v", receipt="r"))

    def leased(self, name: SubtaskId) -> SubtaskId:
        """This subtask, or one that is leased if it is not."""
        if self.state.subtasks[name].lease is not None:
            return name
        return next((n for n, s in self.state.subtasks.items() if s.lease is not None), name)

    def token(self, name: SubtaskId) -> str:
        lease = self.state.subtasks[name].lease
        return lease.token if lease is not None else "ff" * 16

    # What holds always.

    @invariant()
    def money_is_conserved(self) -> None:
        ledger = self.state.ledger
        assert ledger.paid + ledger.locked + ledger.refunded == ledger.escrowed
        assert ledger.escrowed in (0, BUDGET)
        assert sum(leaf.cap for leaf in self.state.leaves) <= BUDGET

    @invariant()
    def pay_stays_under_the_caps(self) -> None:
        caps = {leaf.provider: leaf.cap for leaf in self.state.leaves}
        for provider, account in self.state.providers.items():
            assert account.cap == caps[provider]
            assert account.promised <= account.cap
            under_way = leased_price(self.state, provider)
            assert account.earned + account.sunk + under_way <= account.cap
            vouchered = sum(
                s.lease.vouchered
                for s in self.state.subtasks.values()
                if s.lease is not None and s.lease.provider == provider
            )
            assert account.promised == account.earned + account.sunk + vouchered
            advances = (s.advances.get(provider, 0) for s in self.state.subtasks.values())
            assert account.sunk == sum(advances)

    @invariant()
    def a_provider_is_paid_once_for_a_subtask(self) -> None:
        """Its advance never passes the best price that it was ever leased the subtask for."""
        for name, subtask in self.state.subtasks.items():
            lease = subtask.lease
            if lease is not None:
                assert lease.vouchered <= lease.price
                assert lease.provider not in subtask.advances
            for provider, promised in subtask.advances.items():
                assert promised <= self.prices[name, provider]

    @invariant()
    def what_is_done_stays_done_and_is_paid_once(self) -> None:
        earned: dict[NodeAddress, int] = {}
        for name, subtask in self.state.subtasks.items():
            if name in self.done:
                assert subtask.done == self.done[name]
            if subtask.done is not None:
                self.done[name] = subtask.done
                assert subtask.status is SubtaskStatus.DONE
                assert subtask.lease is None
                who = subtask.done.provider
                earned[who] = earned.get(who, 0) + subtask.done.price
        for provider, account in self.state.providers.items():
            assert account.earned == earned.get(provider, 0)

    @invariant()
    def slots_and_inputs_are_respected(self) -> None:
        for provider, bid in self.state.offers.items():
            mine = [
                s
                for s in self.state.subtasks.values()
                if s.lease is not None and s.lease.provider == provider
            ]
            # A later bid may offer fewer slots than are in use.
            running = [s for s in mine if s.lease.deliver_until_ms is None]
            assert len(running) <= max(3, bid.slots)
            assert len(mine) <= 2 * max(3, bid.slots)
            for subtask in mine:
                needs = (self.state.subtasks[n] for n in subtask.item.needs)
                assert all(n.done is not None for n in needs)

    @invariant()
    def every_wait_has_a_deadline_or_an_effect(self) -> None:
        if self.state.phase is not Phase.ENDED:
            assert due(self.state) is not None or standing(self.state)

    @invariant()
    def a_replay_gives_the_same_state(self) -> None:
        assert replay(self.log) == self.state

    def teardown(self) -> None:
        """From here on the world is fair: the job must come to its end."""
        if not hasattr(self, "state"):
            return
        for _ in range(FAIR_STEPS):
            if self.state.phase is Phase.ENDED:
                break
            self.fair_step()
        assert self.state.phase is Phase.ENDED, self.state.phase
        assert self.state.outcome is not Outcome.OPEN
        self.money_is_conserved()
        assert self.state.ledger.locked == 0

    def fair_step(self) -> None:
        before = self.state
        match self.state.phase:
            case Phase.POSTING:
                self.escrow_comes()
            case Phase.WORKING:
                self.fair_work()
            case Phase.CONSENTING:
                for who in PROVIDERS:
                    self.a_consent_comes(who, right=True)
            case Phase.SETTLING:
                self.settle()
            case Phase.DELIVERING:
                self.feed(e.ResultDelivered(at_ms=self.now, video="v", receipt="r"))
            case Phase.REFUNDING:
                amount = self.state.ledger.locked
                self.feed(e.RefundConfirmed(at_ms=self.now, tx="0x", gas=1, amount=amount))
        if self.state is before:
            found = due(self.state)
            assert found is not None, "nothing can happen any more"
            self.now = max(self.now, found.at_ms)
            self.a_deadline_is_noticed()

    def fair_tender(self, bidders: list[NodeAddress]) -> None:
        tender = self.state.tender
        if tender is None:
            return
        match tender.phase:
            case TenderPhase.CALLING:
                for who in bidders:
                    bid = offer(who, 1)
                    self.feed(e.BidReceived(at_ms=self.now, round=tender.round, offer=bid))
                self.now = max(self.now, tender.closes_ms, self.state.at_ms)
                self.feed(e.CallClosed(at_ms=self.now, round=tender.round, peers=3))
            case TenderPhase.CLEARING:
                found: list[NodeAddress | None] = [*tender.bidders] or [None]
                self.feed(self.cleared([found[i % len(found)] for i in range(5)]))
            case TenderPhase.COMMITTING:
                number = tender.round
                self.feed(
                    e.AwardConfirmed(at_ms=self.now, round=number, root="0xr", tx="0xa", gas=1)
                )

    def fair_work(self) -> None:
        self.fair_tender(PROVIDERS)
        for who in PROVIDERS:
            if who in self.state.providers:
                self.a_lease_is_asked_for(who)
        for name, subtask in list(self.state.subtasks.items()):
            if subtask.lease is not None:
                self.deliver(name, subtask.lease.token)


JobMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestJobMachine = JobMachine.TestCase
