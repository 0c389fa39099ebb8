"""A job as the market knows it: its terms, its id, its payments and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from eth_abi import encode as abi_encode  # type: ignore[attr-defined]
from eth_utils.address import is_checksum_address
from eth_utils.crypto import keccak

from reelmesh.contracts.eip712 import Domain
from reelmesh.contracts.merkle import Leaf
from reelmesh.errors import UserError

NATIVE: Final = "0x0000000000000000000000000000000000000000"
MAX_DURATION_S: Final = 90 * 86_400
MAX_CLAIM_WINDOW_S: Final = 30 * 86_400
TERMS_ABI: Final = "(address,uint64,address,address,uint128,uint64,uint64,bytes32)"
LANE_BITS: Final = 16
_LIMITS: Final = {"nonce": 64, "budget": 128, "deadline": 64, "claim_window": 64}


class BadTerms(UserError, ValueError):
    """A job's terms hold a value that the contract's types cannot."""


@dataclass(frozen=True)
class Terms:
    """What a buyer fixes when it posts a job; see contracts/src/interfaces/IMarket.sol.

    Addresses are EIP-55 checksummed; budget is in the asset's smallest unit; deadline is Unix time
    in seconds, inclusive; claim_window is in seconds; spec_hash has 32 bytes; nonce is the buyer's
    count of jobs and, in its low 16 bits, the job's lane. Raises BadTerms.
    """

    buyer: str
    nonce: int
    coordinator: str
    asset: str
    budget: int
    deadline: int
    claim_window: int
    spec_hash: bytes

    def __post_init__(self) -> None:
        for name in ("buyer", "coordinator", "asset"):
            if not is_checksum_address(getattr(self, name)):
                raise BadTerms(f"the job's {name} is not a checksummed address")
        for name, bits in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
                raise BadTerms(f"the job's {name} is not within uint{bits}")
        if len(self.spec_hash) != 32:
            raise BadTerms("the job's spec hash does not have 32 bytes")

    def as_tuple(self) -> tuple[str, int, str, str, int, int, int, bytes]:
        """In the contract's order."""
        return (
            self.buyer,
            self.nonce,
            self.coordinator,
            self.asset,
            self.budget,
            self.deadline,
            self.claim_window,
            self.spec_hash,
        )

    @property
    def lane(self) -> int:
        """Which of its buyer's lanes (storage slots) the job takes, 0..65535."""
        return self.nonce % (1 << LANE_BITS)

    @property
    def claim_end(self) -> int:
        """Last second at which a provider may claim."""
        return self.deadline + self.claim_window

    def job_id(self, domain: Domain) -> bytes:
        """keccak256(abi.encode(chain id, market, terms)), 32 bytes; as the contract computes it."""
        values = [domain.chain_id, domain.market, self.as_tuple()]
        return bytes(keccak(abi_encode(["uint256", "address", TERMS_ABI], values)))


@dataclass(frozen=True)
class Payment:
    """One line of a settlement: a provider's awarded cap, its whole pay, and its signed Consent.

    Without a consent the rest of the cap stays in escrow until the claim window ends.
    """

    provider: str
    cap: int
    total: int
    consent: bytes | None = None


class Phase(StrEnum):
    """Where a job stands on chain."""

    UNKNOWN = "unknown"
    OPEN = "open"
    AWARDED = "awarded"
    LOCKED = "locked"
    """Settled, and part of the escrow waits for providers that did not consent."""
    CLOSED = "closed"


@dataclass(frozen=True)
class JobState:
    """Where a job stands at one block.

    root and total are the awards' tree as committed (zero while open); leaves are known once the
    chain has told them (after an amendment, or when part is locked). paid and refunded add up what
    left the escrow; escrow is what is still in it. Amounts are in the asset's smallest unit.
    """

    job_id: bytes
    phase: Phase
    block: int
    terms: Terms | None = None
    root: bytes = bytes(32)
    total: int = 0
    leaves: tuple[Leaf, ...] | None = None
    attestations_root: bytes | None = None
    paid: int = 0
    refunded: int = 0

    @property
    def escrow(self) -> int:
        """What the job still holds."""
        return 0 if self.terms is None else self.terms.budget - self.paid - self.refunded


def commitment(job_id: bytes, root: bytes, total: int, settled: bool) -> bytes:
    """What an awarded job's lane holds: keccak256(abi.encode(job id, State)), 32 bytes."""
    kinds = ["bytes32", "bytes32", "uint128", "bool"]
    return bytes(keccak(abi_encode(kinds, [job_id, root, total, settled])))
