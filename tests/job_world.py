"""A small job for tests of the job's state machine, and a run of it whose time the test moves."""

from __future__ import annotations

from typing import Any

from reelmesh.scheduler.ids import JobId, NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job import events as e
from reelmesh.scheduler.job.due import due
from reelmesh.scheduler.job.effects import RaiseVoucher
from reelmesh.scheduler.job.standing import standing
from reelmesh.scheduler.job.state import (
    Item,
    JobState,
    Limits,
    Offer,
    OutputRef,
    Placement,
    SignedAttestation,
    StageOffer,
)
from reelmesh.scheduler.job.transition import create, transition

A = NodeAddress("0x" + "aA" * 20)
B = NodeAddress("0x" + "bB" * 20)
ZERO = "0x" + "00" * 32
BUDGET = 10_000
OUT = {"out": OutputRef(sha256="ab" * 32, size=100, kind="frames")}


def item(name: str, *needs: str) -> Item:
    return Item(
        id=SubtaskId(name),
        stage="upscale",
        stage_version=1,
        units=2.0,
        memory_mb=10,
        needs=tuple(SubtaskId(n) for n in needs),
    )


def created(**changes: Any) -> e.JobCreated:
    items = (item("upscale-0"), item("upscale-1"), item("upscale-2", "upscale-0", "upscale-1"))
    fields: dict[str, Any] = {
        "at_ms": 1_000,
        "job_id": JobId("0x" + "11" * 32),
        "budget": BUDGET,
        "deadline_ms": 1_000_000,
        "claim_window_ms": 60_000,
        "limits": Limits(),
        "items": items,
        "reserves": {i.id: 1_500 for i in items},
    }
    return e.JobCreated(**{**fields, **changes})


def offer(provider: NodeAddress, price: int = 400, seconds: float = 1.0, slots: int = 1) -> Offer:
    line = StageOffer(
        stage="upscale",
        stage_version=1,
        price_per_unit=price,
        seconds_per_unit=seconds,
        memory_mb=10,
    )
    return Offer(
        provider=provider,
        peer_id="peer",
        stages=(line,),
        slots=slots,
        memory_mb=100,
        queue_s=0.0,
        uplink_mbps=100.0,
        device_class="cpu",
        certificate="00",
        nonce="00" * 16,
    )


def attestation(attempt: int) -> SignedAttestation:
    return SignedAttestation(
        attempt=attempt,
        inputs_root=ZERO,
        outputs_root=ZERO,
        trajectory_root=ZERO,
        stage="upscale",
        stage_version=1,
        model_hash=ZERO,
        device_class="cpu",
        started_at_ms=1,
        finished_at_ms=2,
        signature="0x" + "00" * 65,
    )


class Run:
    """A job under test: feeds events at a time that the test moves."""

    def __init__(self, **changes: Any) -> None:
        self.log: list[e.Event] = [created(**changes)]
        self.state: JobState = create(self.log[0])  # type: ignore[arg-type]
        self.now = self.state.at_ms
        self.effects: list[Any] = list(standing(self.state))

    def feed(self, event_type: Any, **fields: Any) -> JobState:
        event = event_type(at_ms=self.now, **fields)
        self.log.append(event)
        self.state, effects = transition(self.state, event)
        self.effects += effects
        return self.state

    def pass_deadline(self) -> e.Event:
        found = due(self.state)
        assert found is not None
        self.now = max(self.now, found.at_ms)
        event = found.event.model_copy(update={"at_ms": self.now})
        self.log.append(event)
        self.state, effects = transition(self.state, event)
        self.effects += effects
        return event

    def award(self, placements: dict[str, NodeAddress], price: int = 1_000) -> None:
        for provider in sorted(set(placements.values())):
            self.feed(e.BidReceived, round=self.round, offer=offer(provider))
        self.pass_deadline()
        self.clear(placements, price)
        self.feed(e.AwardConfirmed, round=self.round, root="0xroot", tx="0xaward", gas=5)

    def clear(self, placements: dict[str, NodeAddress], price: int = 1_000) -> None:
        placed = tuple(
            Placement(subtask=SubtaskId(s), provider=p, price=Wei(price))
            for s, p in placements.items()
        )
        self.feed(e.Cleared, round=self.round, placements=placed, losses=(), unplaced={})

    @property
    def round(self) -> int:
        assert self.state.tender is not None
        return self.state.tender.round

    def work(self, provider: NodeAddress) -> str:
        """Lease, deliver and attest the next subtask; returns its id."""
        name, token = self.lease(provider)
        self.deliver(name, token)
        attempt = self.state.subtasks[name].attempt
        self.feed(
            e.AttestationReceived, subtask=name, token=token, attestation=attestation(attempt)
        )
        return name

    def lease(self, provider: NodeAddress) -> tuple[SubtaskId, str]:
        token = f"{len(self.log):032x}"
        self.feed(e.LeaseRequested, provider=provider, token=token)
        held = [
            (name, token)
            for name, s in self.state.subtasks.items()
            if s.lease is not None and s.lease.token == token
        ]
        assert held, "no lease was granted"
        return held[0]

    def deliver(self, name: SubtaskId, token: str) -> None:
        self.feed(e.DeliveryStarted, subtask=name, token=token, total_bytes=100)
        self.feed(e.ChunkAccepted, subtask=name, token=token, accepted_bytes=100)
        self.feed(e.DeliveryCompleted, subtask=name, token=token, outputs=OUT)

    def settled(self, paid: int, refunded: int, locked: int = 0, gas: int = 1) -> None:
        self.feed(
            e.SettlementConfirmed,
            tx="0xs",
            gas=gas,
            attestations_root=ZERO,
            paid=paid,
            refunded=refunded,
            locked=locked,
        )

    def posted(self) -> Run:
        self.feed(e.EscrowConfirmed, tx="0xpost", gas=1)
        return self


ALL_TO_A = {"upscale-0": A, "upscale-1": A, "upscale-2": A}
SHARED = {"upscale-0": A, "upscale-1": B, "upscale-2": A}


def half_delivered() -> tuple[Run, SubtaskId, str]:
    """A's first subtask, half of it there and vouchered."""
    run = Run().posted()
    run.award(ALL_TO_A)
    name, token = run.lease(A)
    run.feed(e.DeliveryStarted, subtask=name, token=token, total_bytes=100)
    run.feed(e.ChunkAccepted, subtask=name, token=token, accepted_bytes=50)
    return run, name, token


def promises(run: Run) -> list[int]:
    return [x.amount for x in run.effects if isinstance(x, RaiseVoucher)]
