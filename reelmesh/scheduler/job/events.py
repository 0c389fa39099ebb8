"""What can happen to a job. Each event was verified at the edge and is on disk before it acts.

An event that does not fit the state (late, repeated, foreign) changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from reelmesh.scheduler.ids import JobId, NodeAddress, SubtaskId
from reelmesh.scheduler.job.state import (
    Amount,
    Frozen,
    Item,
    Limits,
    Lost,
    Millis,
    Offer,
    OutputRef,
    Placement,
    SignedAttestation,
)


class _Event(Frozen):
    at_ms: Millis


class JobCreated(_Event):
    """The first event of every job."""

    type: Literal["JobCreated"] = "JobCreated"
    job_id: JobId
    budget: Amount
    deadline_ms: Millis
    claim_window_ms: Millis
    limits: Limits
    items: tuple[Item, ...]
    reserves: Mapping[SubtaskId, Amount]


class EscrowConfirmed(_Event):
    type: Literal["EscrowConfirmed"] = "EscrowConfirmed"
    tx: str
    gas: int


class EscrowRejected(_Event):
    """Nothing was locked."""

    type: Literal["EscrowRejected"] = "EscrowRejected"
    reason: str
    hint: str = ""


class BidReceived(_Event):
    type: Literal["BidReceived"] = "BidReceived"
    round: int
    offer: Offer


class CallClosed(_Event):
    """The bid window is over; `peers` is how many nodes were connected then."""

    type: Literal["CallClosed"] = "CallClosed"
    round: int
    peers: int = 0


class Cleared(_Event):
    """The auction's result."""

    type: Literal["Cleared"] = "Cleared"
    round: int
    placements: tuple[Placement, ...]
    losses: tuple[Lost, ...]
    unplaced: Mapping[SubtaskId, str]


class AwardConfirmed(_Event):
    """The awards' root is on chain. `tx` is empty where no transaction was needed."""

    type: Literal["AwardConfirmed"] = "AwardConfirmed"
    round: int
    root: str
    tx: str
    gas: int


class AwardRejected(_Event):
    type: Literal["AwardRejected"] = "AwardRejected"
    round: int
    reason: str
    hint: str = ""


class AwardExpired(_Event):
    """The awards' transaction was not confirmed in time."""

    type: Literal["AwardExpired"] = "AwardExpired"
    round: int


class LeaseRequested(_Event):
    """A provider asks for work; `token` is fresh randomness for the lease it may get."""

    type: Literal["LeaseRequested"] = "LeaseRequested"
    provider: NodeAddress
    token: str


class ProviderReturned(_Event):
    """A provider that was thought absent is heard from again."""

    type: Literal["ProviderReturned"] = "ProviderReturned"
    provider: NodeAddress


class ProviderBusy(_Event):
    """A provider says that it is there, and that other jobs take all its slots."""

    type: Literal["ProviderBusy"] = "ProviderBusy"
    provider: NodeAddress


class AwardDeclined(_Event):
    """A provider will not do what it was awarded."""

    type: Literal["AwardDeclined"] = "AwardDeclined"
    provider: NodeAddress
    reason: str


class ProgressReceived(_Event):
    type: Literal["ProgressReceived"] = "ProgressReceived"
    subtask: SubtaskId
    token: str


class DeliveryStarted(_Event):
    type: Literal["DeliveryStarted"] = "DeliveryStarted"
    subtask: SubtaskId
    token: str
    total_bytes: int = Field(gt=0)


class ChunkAccepted(_Event):
    """So many of the announced bytes are here; raises the voucher."""

    type: Literal["ChunkAccepted"] = "ChunkAccepted"
    subtask: SubtaskId
    token: str
    accepted_bytes: int = Field(ge=0)


class DeliveryCompleted(_Event):
    type: Literal["DeliveryCompleted"] = "DeliveryCompleted"
    subtask: SubtaskId
    token: str
    outputs: Mapping[str, OutputRef]


class AttestationReceived(_Event):
    type: Literal["AttestationReceived"] = "AttestationReceived"
    subtask: SubtaskId
    token: str
    attestation: SignedAttestation


class SubtaskFailed(_Event):
    """Told by the provider, or found by us (`bad_result`, `bad_attestation`, …)."""

    type: Literal["SubtaskFailed"] = "SubtaskFailed"
    subtask: SubtaskId
    token: str
    reason: str
    message: str = ""
    may_retry: bool = False


class LeaseExpired(_Event):
    type: Literal["LeaseExpired"] = "LeaseExpired"
    subtask: SubtaskId
    attempt: int


class TakeUpExpired(_Event):
    """An idle provider did not come for a ready subtask that is awarded to it."""

    type: Literal["TakeUpExpired"] = "TakeUpExpired"
    subtask: SubtaskId


class CancelRequested(_Event):
    type: Literal["CancelRequested"] = "CancelRequested"
    reason: str


class WorkDeadlineReached(_Event):
    type: Literal["WorkDeadlineReached"] = "WorkDeadlineReached"


class ConsentReceived(_Event):
    type: Literal["ConsentReceived"] = "ConsentReceived"
    provider: NodeAddress
    total: Amount
    signature: str


class ConsentsClosed(_Event):
    type: Literal["ConsentsClosed"] = "ConsentsClosed"


class SettlementConfirmed(_Event):
    """What the chain says was paid, refunded and kept locked, in wei."""

    type: Literal["SettlementConfirmed"] = "SettlementConfirmed"
    tx: str
    gas: int
    attestations_root: str
    paid: Amount
    refunded: Amount
    locked: Amount


class SettlementRejected(_Event):
    """The chain will not settle any more; what is locked comes back after the claim window."""

    type: Literal["SettlementRejected"] = "SettlementRejected"
    reason: str
    hint: str = ""


class ResultDelivered(_Event):
    """The files that were written; `video` is None where there is none."""

    type: Literal["ResultDelivered"] = "ResultDelivered"
    video: str | None
    receipt: str | None


class ResultRejected(_Event):
    """The files could not be written."""

    type: Literal["ResultRejected"] = "ResultRejected"
    reason: str
    hint: str = ""


class RefundConfirmed(_Event):
    """`amount` came back; what else was locked had been claimed by providers."""

    type: Literal["RefundConfirmed"] = "RefundConfirmed"
    tx: str
    gas: int
    amount: Amount


class Resumed(_Event):
    """The coordinator was down; waits for others begin anew."""

    type: Literal["Resumed"] = "Resumed"


Event = Annotated[
    JobCreated
    | EscrowConfirmed
    | EscrowRejected
    | BidReceived
    | CallClosed
    | Cleared
    | AwardConfirmed
    | AwardRejected
    | AwardExpired
    | LeaseRequested
    | ProviderReturned
    | ProviderBusy
    | AwardDeclined
    | ProgressReceived
    | DeliveryStarted
    | ChunkAccepted
    | DeliveryCompleted
    | AttestationReceived
    | SubtaskFailed
    | LeaseExpired
    | TakeUpExpired
    | CancelRequested
    | WorkDeadlineReached
    | ConsentReceived
    | ConsentsClosed
    | SettlementConfirmed
    | SettlementRejected
    | ResultDelivered
    | ResultRejected
    | RefundConfirmed
    | Resumed,
    Field(discriminator="type"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads an event back from JSON."""
