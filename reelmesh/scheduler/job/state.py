"""What is known of a job. Facts alone: frozen values that go to JSON and back without loss."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reelmesh.scheduler.ids import ArtifactId, JobId, NodeAddress, SubtaskId, Wei

Hex32 = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Amount = Annotated[Wei, Field(ge=0, lt=2**128)]
Millis = Annotated[int, Field(ge=0, lt=2**53)]


class Frozen(BaseModel):
    """A value that is never changed in place; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(StrEnum):
    """Where a job stands; it moves down this list and never up."""

    POSTING = "posting"
    """The escrow is not confirmed yet."""
    WORKING = "working"
    """Subtasks are called for bids, awarded, leased, run."""
    CONSENTING = "consenting"
    """No more work; providers are asked to agree to their totals."""
    SETTLING = "settling"
    """The settlement is on its way to the chain."""
    DELIVERING = "delivering"
    """The video and the receipt are being written."""
    REFUNDING = "refunding"
    """Over for the buyer but for money that stays locked until providers may no longer claim."""
    ENDED = "ended"


class Outcome(StrEnum):
    """How the job ends, decided when the work does."""

    OPEN = "open"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SubtaskStatus(StrEnum):
    OPEN = "open"
    LEASED = "leased"
    DONE = "done"


class TenderPhase(StrEnum):
    CALLING = "calling"
    CLEARING = "clearing"
    COMMITTING = "committing"


class Limits(Frozen):
    """How long each wait lasts, and how often things are tried again. Times in ms, all > 0.

    Attributes:
        bid_window_ms: A call is held open this long; doubled for each round without result.
        award_ms: Longest wait for the awards' transaction.
        lease_ms: Life of a lease without news from its provider.
        take_up_ms: Longest that a ready subtask waits for an idle provider it was awarded to.
        run_slack_ms: Added to ten times the expected run time for a lease's run limit.
        deliver_ms: Longest from the end of a run to its attestation.
        consent_ms: Longest wait for consents.
        settle_margin_ms: Work ends this long before the job's deadline.
        empty_rounds: Rounds in a row without a placement before the job is given up.
        attempts: Leases of one subtask before the job is given up.
        strikes: Failures of one provider before it gets no more leases.
    """

    bid_window_ms: int = Field(default=2_000, gt=0)
    award_ms: int = Field(default=120_000, gt=0)
    lease_ms: int = Field(default=10_000, gt=0)
    take_up_ms: int = Field(default=20_000, gt=0)
    run_slack_ms: int = Field(default=30_000, gt=0)
    deliver_ms: int = Field(default=60_000, gt=0)
    consent_ms: int = Field(default=3_000, gt=0)
    settle_margin_ms: int = Field(default=20_000, gt=0)
    empty_rounds: int = Field(default=3, gt=0)
    attempts: int = Field(default=6, gt=0)
    strikes: int = Field(default=3, gt=0)


class Item(Frozen):
    """What the machine needs to know of one subtask of the plan."""

    id: SubtaskId
    stage: str
    stage_version: int
    model: str = ""
    units: float = Field(ge=0)
    memory_mb: int = Field(ge=0)
    needs: tuple[SubtaskId, ...]
    """Subtasks whose outputs it reads."""


class StageOffer(Frozen):
    """One line of a bid."""

    stage: str
    stage_version: int
    price_per_unit: Amount
    seconds_per_unit: float = Field(gt=0)
    memory_mb: int = Field(ge=0)
    resident: bool = False
    model: str = ""
    """The production model that runs it; "" for the stage's embedded backend."""
    model_hash: str = ""
    """64 hex digits; stated with a model."""


class Offer(Frozen):
    """A provider's bid as it counts here; verified before it becomes an event."""

    provider: NodeAddress
    peer_id: str
    stages: tuple[StageOffer, ...]
    slots: int = Field(ge=1)
    memory_mb: int = Field(ge=0)
    queue_s: float = Field(ge=0)
    uplink_mbps: float = Field(gt=0)
    device_class: str
    certificate: str
    """DER, hex without 0x."""
    nonce: str
    """Hex; a bid seen twice is refused."""


class OutputRef(Frozen):
    """An artifact that a subtask delivered."""

    sha256: ArtifactId
    size: int = Field(ge=0)
    kind: str


class SignedAttestation(Frozen):
    """A provider's EIP-712 statement; bytes as 0x-hex. Its signature was verified before."""

    attempt: int
    inputs_root: Hex32
    outputs_root: Hex32
    trajectory_root: Hex32
    stage: str
    stage_version: int
    model_hash: Hex32
    device_class: str
    started_at_ms: Millis
    finished_at_ms: Millis
    signature: str


class Lease(Frozen):
    """A subtask in a provider's hands."""

    provider: NodeAddress
    token: str
    """16 bytes, hex."""
    price: Amount
    granted_ms: Millis
    renewed_until_ms: Millis
    run_until_ms: Millis
    expected_ms: Millis = 0
    """How long the provider said that it would run."""
    deliver_until_ms: Millis | None = None
    """Set when the delivery begins; the run limit no longer counts then."""
    total_bytes: int = 0
    vouchered: Amount = Wei(0)
    """What its provider was promised for this subtask so far, by this lease's chunks or those of
    its earlier ones. Never falls."""
    outputs: Mapping[str, OutputRef] | None = None
    """Set when everything arrived and matched its hashes."""


class Done(Frozen):
    """A finished subtask: who did it, for how much, and its proof."""

    provider: NodeAddress
    price: Amount
    outputs: Mapping[str, OutputRef]
    attestation: SignedAttestation
    ready_ms: Millis
    leased_ms: Millis
    done_ms: Millis


class Failure(Frozen):
    """A lease that came to nothing."""

    provider: NodeAddress
    reason: str
    may_retry: bool
    """The provider itself says that the same subtask may well work there next time."""


class Subtask(Frozen):
    """One subtask's way through the job."""

    item: Item
    status: SubtaskStatus = SubtaskStatus.OPEN
    assignee: NodeAddress | None = None
    price: Amount = Wei(0)
    reserve: Amount = Wei(0)
    ready_ms: Millis | None = None
    """When its last input was there."""
    attempt: int = 0
    """Leases granted so far; the current one bears this number."""
    lease: Lease | None = None
    done: Done | None = None
    failures: tuple[Failure, ...] = ()
    advances: Mapping[NodeAddress, Amount] = {}
    """What providers were promised for deliveries that came to nothing. One that gets the subtask
    again is promised only what goes beyond that."""


class Consent(Frozen):
    total: Amount
    signature: str


class Placement(Frozen):
    """What an auction decided for one subtask."""

    subtask: SubtaskId
    provider: NodeAddress
    price: Amount


class Provider(Frozen):
    """A provider with an award."""

    cap: Amount
    """Its leaf in the committed awards' tree."""
    round: int = 0
    """Of its latest award."""
    awarded: tuple[Placement, ...] = ()
    """What it won in that round."""
    promised: Amount = Wei(0)
    """The highest voucher: what it may claim whatever happens. Never falls."""
    earned: Amount = Wei(0)
    """Prices of the subtasks it finished."""
    sunk: Amount = Wei(0)
    """Its advances on all subtasks that it does not hold: vouchered for deliveries that failed."""
    strikes: int = 0
    absent: bool = False
    busy: bool = False
    """There, with every slot taken by the work of other jobs."""
    idle_since_ms: Millis = 0
    consent: Consent | None = None


class Lost(Frozen):
    subtask: SubtaskId
    provider: NodeAddress
    reason: str
    winning_price: Amount


class Leaf(Frozen):
    provider: NodeAddress
    cap: Amount


class Tender(Frozen):
    """An auction under way: for the whole plan at first, later for what was orphaned."""

    round: int
    phase: TenderPhase
    subtasks: tuple[SubtaskId, ...]
    reserves: Mapping[SubtaskId, Amount]
    closes_ms: Millis
    commit_by_ms: Millis | None = None
    bidders: Mapping[NodeAddress, str] = {}
    """Who has bid in this round, with the bid's nonce."""
    peers: int = 0
    """Nodes connected when the call closed."""
    placements: tuple[Placement, ...] = ()
    losses: tuple[Lost, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    """The awards' tree to commit, sorted by address."""


class Transaction(Frozen):
    what: str
    tx: str
    gas: int


class Ledger(Frozen):
    """Where the budget is; `paid + locked + refunded` is what was escrowed."""

    escrowed: Amount = Wei(0)
    paid: Amount = Wei(0)
    refunded: Amount = Wei(0)
    locked: Amount = Wei(0)


class Reason(Frozen):
    code: str
    hint: str = ""


class JobState(Frozen):
    """All that is known of one job."""

    job_id: JobId
    budget: Amount
    deadline_ms: Millis
    claim_window_ms: Millis
    limits: Limits
    at_ms: Millis
    """When the last event happened."""
    phase: Phase = Phase.POSTING
    outcome: Outcome = Outcome.OPEN
    reason: Reason | None = None
    subtasks: Mapping[SubtaskId, Subtask]
    first_reserves: Mapping[SubtaskId, Amount]
    offers: Mapping[NodeAddress, Offer] = {}
    providers: Mapping[NodeAddress, Provider] = {}
    tender: Tender | None = None
    rounds: int = 0
    """Tenders begun so far."""
    empty_rounds: int = 0
    """Tenders in a row that placed nothing."""
    bids: int = 0
    leaves: tuple[Leaf, ...] = ()
    """The awards' tree on chain; empty before the first award."""
    maybe_leaves: tuple[Leaf, ...] = ()
    """A tree whose transaction was not confirmed in time: it may be on chain yet."""
    root: str = ""
    award_tx: str = ""
    losses: tuple[Lost, ...] = ()
    close_ms: Millis | None = None
    """When the consents' wait ends."""
    ledger: Ledger = Ledger()
    transactions: tuple[Transaction, ...] = ()
    video: str | None = None
    receipt: str | None = None
