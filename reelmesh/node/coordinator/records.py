"""What a job was created with; never changes, kept in the journal beside the job's events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from reelmesh.contracts.eip712 import Domain
from reelmesh.contracts.terms import Terms
from reelmesh.scheduler.ids import ArtifactId, JobId, NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job.events import JobCreated
from reelmesh.scheduler.job.state import (
    Amount,
    Hex32,
    Item,
    Limits,
    OutputRef,
    SignedAttestation,
)
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import AnySpec


class TermsRecord(BaseModel):
    """The terms that stand on chain, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    buyer: str
    nonce: int
    coordinator: str
    asset: str
    budget: Amount
    deadline: int
    claim_window: int
    spec_hash: Hex32

    @classmethod
    def of(cls, terms: Terms) -> TermsRecord:
        """From the contract client's terms."""
        values = {**vars(terms), "spec_hash": "0x" + terms.spec_hash.hex()}
        return cls(**values)

    def terms(self) -> Terms:
        """As the contract client takes them."""
        return Terms(**{**self.model_dump(), "spec_hash": bytes.fromhex(self.spec_hash[2:])})


class Similar(BaseModel):
    """Another prompt, whose clip was taken for this job's, and how far apart the two are.

    Attributes:
        prompt: As the model read it in the job that made the clip.
        distance: 0 for the same prompt; see `reelmesh.node.stages.compare_prompts`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: str
    distance: float = Field(ge=0)

    @property
    def likeness(self) -> float:
        """What a person is shown: 1 for the same prompt."""
        return round(1 - self.distance, 2)


class Reused(BaseModel):
    """A result that an earlier job of the same buyer paid for, and the proof of who made it.

    Attributes:
        subtask: In this job's plan, before what is kept was taken out of it.
        key: The work key, see `reelmesh.scheduler.reuse`.
        job_id, made_as: The job in which it was made, and the subtask's name there.
        inputs: Input name to artifact, as its provider had them.
        similar: Set where it was made for another prompt; left out of every written form where
            it is of this very work.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subtask: SubtaskId
    key: ArtifactId
    job_id: JobId
    made_as: SubtaskId
    provider: NodeAddress
    inputs: Mapping[str, ArtifactId]
    outputs: Mapping[str, OutputRef]
    attestation: SignedAttestation
    similar: Similar | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        if self.similar is None:
            fields.pop("similar", None)
        return fields

    @property
    def output(self) -> OutputRef:
        """Its one output."""
        (output,) = self.outputs.values()
        return output


class JobRecord(BaseModel):
    """A job's fixed part.

    Attributes:
        out_dir, name: The video is written to `<out_dir>/<name>.mp4`.
        from_block: A block before the job's posting, where looking for its events starts.
        plan: What had to be done: the template's plan without what was reused.
        release: Which release planned it, see `reusing.this_release`; "" before this was noted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: JobId
    created_ms: int
    chain_id: int
    market: str
    terms: TermsRecord
    spec: AnySpec
    plan: Plan
    out_dir: Path
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    from_block: int = Field(ge=0)
    reused: tuple[Reused, ...] = ()
    release: str = ""

    @property
    def similar(self) -> Similar | None:
        """The prompt whose clip this job goes on from, where it is not its own."""
        return next((one.similar for one in self.reused if one.similar is not None), None)

    @property
    def job_bytes(self) -> bytes:
        """The job's id, 32 bytes."""
        return bytes.fromhex(self.job_id[2:])

    @property
    def domain(self) -> Domain:
        """What vouchers, consents and attestations of this job are signed under."""
        return Domain(self.chain_id, self.market)

    @property
    def video_path(self) -> Path:
        """Where the video goes."""
        return self.out_dir / f"{self.name}.mp4"

    @property
    def preview_path(self) -> Path:
        """Where the preview goes."""
        return self.out_dir / f"{self.name}.preview.mp4"

    @property
    def receipt_path(self) -> Path:
        """Where the receipt goes."""
        return self.out_dir / f"{self.name}.receipt.json"


def created(record: JobRecord, reserves: Mapping[SubtaskId, Wei], limits: Limits) -> JobCreated:
    """The first event of the job that this record describes."""
    return JobCreated(
        at_ms=record.created_ms,
        job_id=record.job_id,
        budget=record.terms.budget,
        deadline_ms=record.terms.deadline * 1000,
        claim_window_ms=record.terms.claim_window * 1000,
        limits=limits,
        items=tuple(
            Item(
                id=subtask.id,
                stage=subtask.stage,
                stage_version=subtask.stage_version,
                model=subtask.model,
                units=subtask.units,
                memory_mb=subtask.memory_mb,
                needs=tuple(dict.fromkeys(ref.subtask for ref in subtask.inputs)),
            )
            for subtask in record.plan.subtasks
        ),
        reserves=dict(reserves),
    )
