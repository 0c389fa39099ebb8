"""The market's events, typed. Amounts are in the asset's smallest unit, times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.address import to_checksum_address

from reelmesh.contracts.terms import Terms

_RECORD: Final = 36


@dataclass(frozen=True)
class MarketEvent:
    """Where an event stands: its block, its transaction (0x-hex) and its place in the block."""

    block: int
    tx_hash: str
    log_index: int


@dataclass(frozen=True)
class JobEvent(MarketEvent):
    """An event of one job; job_id has 32 bytes."""

    job_id: bytes


@dataclass(frozen=True)
class Deposited(MarketEvent):
    """Coins became an account's credit."""

    asset: str
    account: str
    amount: int


@dataclass(frozen=True)
class Withdrawn(MarketEvent):
    """Credit left the market."""

    asset: str
    account: str
    to: str
    amount: int


@dataclass(frozen=True)
class JobPosted(JobEvent):
    """A budget went into escrow."""

    terms: Terms


@dataclass(frozen=True)
class Awarded(JobEvent):
    """The awards' tree was committed."""

    root: bytes
    total: int


@dataclass(frozen=True)
class Amended(JobEvent):
    """The awards' tree was replaced; leaves are all (provider, cap)."""

    root: bytes
    total: int
    leaves: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Settled(JobEvent):
    """The coordinator settled; payouts are all (provider, its whole pay)."""

    attestations_root: bytes
    paid: int
    refunded: int
    payouts: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Locked(JobEvent):
    """Part of a settled job stays claimable under a new tree with these (provider, cap) leaves."""

    root: bytes
    total: int
    held: int
    leaves: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Claimed(JobEvent):
    """A provider was paid against its voucher."""

    provider: str
    amount: int


@dataclass(frozen=True)
class Cancelled(JobEvent):
    """A job without an award was ended; its budget went back."""

    refunded: int


@dataclass(frozen=True)
class Refunded(JobEvent):
    """What was left of a job went back to its buyer."""

    refunded: int


def from_log(log: Mapping[str, Any]) -> MarketEvent:
    """A typed event from web3's decoded log of the Market contract."""
    place = (int(log["blockNumber"]), log["transactionHash"].to_0x_hex(), int(log["logIndex"]))
    return _READERS[log["event"]](place, log["args"])


Place = tuple[int, str, int]
Args = Mapping[str, Any]


def _records(packed: bytes) -> tuple[tuple[str, int], ...]:
    """(address, uint128) pairs out of packed records of 36 bytes."""
    return tuple(
        (
            str(to_checksum_address(packed[at : at + 20])),
            int.from_bytes(packed[at + 20 : at + _RECORD], "big"),
        )
        for at in range(0, len(packed), _RECORD)
    )


def _posted(place: Place, args: Args) -> JobPosted:
    terms = Terms(
        buyer=args["buyer"],
        nonce=args["nonce"],
        coordinator=args["coordinator"],
        asset=args["asset"],
        budget=args["budget"],
        deadline=args["deadline"],
        claim_window=args["claimWindow"],
        spec_hash=bytes(args["specHash"]),
    )
    return JobPosted(*place, bytes(args["jobId"]), terms)


def _settled(place: Place, args: Args) -> Settled:
    payouts = _records(bytes(args["payouts"]))
    root = bytes(args["attestationsRoot"])
    return Settled(*place, bytes(args["jobId"]), root, args["paid"], args["refunded"], payouts)


def _locked(place: Place, args: Args) -> Locked:
    leaves = _records(bytes(args["leaves"]))
    root = bytes(args["root"])
    return Locked(*place, bytes(args["jobId"]), root, args["sum"], args["held"], leaves)


def _amended(place: Place, args: Args) -> Amended:
    leaves = _records(bytes(args["leaves"]))
    return Amended(*place, bytes(args["jobId"]), bytes(args["root"]), args["sum"], leaves)


_READERS: Final[dict[str, Callable[[Place, Args], MarketEvent]]] = {
    "Deposited": lambda p, a: Deposited(*p, a["asset"], a["account"], a["amount"]),
    "Withdrawn": lambda p, a: Withdrawn(*p, a["asset"], a["account"], a["to"], a["amount"]),
    "JobPosted": _posted,
    "Awarded": lambda p, a: Awarded(*p, bytes(a["jobId"]), bytes(a["root"]), a["sum"]),
    "Amended": _amended,
    "Settled": _settled,
    "Locked": _locked,
    "Claimed": lambda p, a: Claimed(*p, bytes(a["jobId"]), a["provider"], a["amount"]),
    "Cancelled": lambda p, a: Cancelled(*p, bytes(a["jobId"]), a["refunded"]),
    "Refunded": lambda p, a: Refunded(*p, bytes(a["jobId"]), a["refunded"]),
}
