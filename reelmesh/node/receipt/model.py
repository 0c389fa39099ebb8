"""What stands in a receipt. The file is the RFC 8785 canonical JSON of `Receipt`, byte for byte.

Money is decimal text in wei, hashes of chain things are 0x-hex, artifacts are bare sha256 hex,
times are milliseconds since the epoch. docs/receipt.md tells the same for a reader.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from reelmesh.scheduler.canonical import canonical, digest
from reelmesh.scheduler.ids import MAX_WEI

FORMAT = "reelmesh.receipt"
SIGNED_PREFIX = b"reelmesh/receipt/1\n"
UNSIGNED = frozenset({"sections", "signature"})
"""Fields that have no digest of their own under `sections`."""

Wei = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,38})$")]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
Hash = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^0x[0-9a-f]{130}$")]
Uint = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Terms(_Part):
    """The job's terms as they stand on chain; times in seconds."""

    buyer: Address
    nonce: Wei
    coordinator: Address
    asset: Address
    budget: Wei
    deadline: Uint
    claim_window: Uint
    spec_hash: Hash


class Leaf(_Part):
    """The most that a provider may earn in this job."""

    provider: Address
    cap: Wei


class Awards(_Part):
    """The awards' Merkle-sum tree."""

    root: Hash
    sum: Wei
    leaves: tuple[Leaf, ...]


class Artifact(_Part):
    """Bytes named by their hash."""

    sha256: Sha256
    size: Uint
    kind: str


class Attestation(_Part):
    """A provider's EIP-712 statement over one run."""

    attempt: Uint
    inputs_root: Hash
    outputs_root: Hash
    trajectory_root: Hash
    stage: str
    stage_version: Uint
    model_hash: Hash
    device_class: str
    started_at_ms: Uint
    finished_at_ms: Uint
    signature: Signature


class Work(_Part):
    """One finished subtask."""

    subtask: str
    provider: Address
    price: Wei
    inputs: dict[str, Sha256]
    outputs: dict[str, Artifact]
    attestation: Attestation


class Similar(_Part):
    """The prompt that a result was made for, and its distance from this job's; 0 is the same."""

    prompt: str
    distance: Annotated[float, Field(ge=0, le=2)]


class ReusedWork(_Part):
    """A result that an earlier job of the buyer's paid for, taken in at no cost.

    Attributes:
        subtask, key: Of this job's template, with its work key.
        job_id, made_as: The job that it was made in, and the subtask's name there.
        similar: Left out where it is of this very work. Else the key is that of the work with the
            other prompt's clip.
    """

    subtask: str
    key: Sha256
    job_id: Hash
    made_as: str
    provider: Address
    inputs: dict[str, Sha256]
    outputs: dict[str, Artifact]
    attestation: Attestation
    similar: Similar | None = None


class Payment(_Part):
    """One provider's whole pay, the coordinator's voucher over it, and the provider's consent."""

    provider: Address
    total: Wei
    voucher: Signature
    consent: Signature | None


class Ledger(_Part):
    """Where the escrow is: paid + refunded + locked = escrowed."""

    escrowed: Wei
    paid: Wei
    refunded: Wei
    locked: Wei


class Transaction(_Part):
    """A transaction of the job."""

    what: str
    tx: Hash
    gas: Uint


class Receipt(_Part):
    """The whole document.

    Attributes:
        reused: Left out where nothing is.
        first_block: Looking for the job's events begins at this block.
        sections: Name of each other field to the sha256 of its canonical form, so that a change is
            found where it was made.
        signature: The coordinator's, over keccak256("reelmesh/receipt/1" newline canonical form
            of everything but this field).
    """

    format: Literal["reelmesh.receipt"]
    version: Literal[1]
    job_id: Hash
    chain_id: Uint
    market: Address
    first_block: Uint
    issued_at_ms: Uint
    terms: Terms
    spec: dict[str, object]
    plan: dict[str, object]
    plan_hash: Sha256
    awards: Awards | None
    reused: tuple[ReusedWork, ...] = ()
    work: tuple[Work, ...]
    attestations_root: Hash
    audits: tuple[()]
    payments: tuple[Payment, ...]
    ledger: Ledger
    transactions: tuple[Transaction, ...]
    video: Artifact | None
    sections: dict[str, Sha256]
    signature: Signature


def section_digests(document: dict[str, object]) -> dict[str, str]:
    """The sha256 of each section's canonical form."""
    return {
        name: digest(canonical(value)) for name, value in document.items() if name not in UNSIGNED
    }


def signed_bytes(document: dict[str, object]) -> bytes:
    """What the coordinator signs the keccak256 of."""
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    return SIGNED_PREFIX + canonical(unsigned)


def wei(text: str) -> int:
    """An amount; ValueError above what the market can hold."""
    amount = int(text)
    if amount > MAX_WEI:
        raise ValueError("an amount above 128 bits")
    return amount
