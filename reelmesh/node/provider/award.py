"""Is an award worth working for? Checks it against our bid, the proof, and the chain."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eth_utils.address import to_checksum_address
from pydantic import BaseModel, ConfigDict, Field

from reelmesh.contracts import merkle
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.terms import BadTerms, Phase, Terms
from reelmesh.errors import PeerError
from reelmesh.node.rpc.certs import BadCertificate, verify_certificate
from reelmesh.proto import market_pb2
from reelmesh.scheduler.models import offering
from reelmesh.scheduler.stages.entry import BYTES_SLACK, MIB

NATIVE = bytes(20)
MIN_CLAIM_WINDOW_S = 60
_UNITS_SLACK = 1 + 1e-9
"""For units that crossed the wire as floating-point numbers."""


class AwardRefused(PeerError):
    """This node does not work for that award; `reason` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SentBid(BaseModel):
    """What this node offered for a job, over all rounds of its calls.

    Attributes:
        coordinator: Who called.
        round: The latest round that was bid in.
        prices: Offering to wei per unit, as last bid.
        work: Subtask to its stage and units, as the calls described it.
        seconds_per_unit: Stage to this node's speed.
        bytes_in: Subtask to the size of its inputs, as the calls described it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinator: str
    round: int
    deadline_ms: int
    prices: dict[str, int]
    work: dict[str, tuple[str, float]]
    seconds_per_unit: dict[str, float]
    bytes_in: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def of(
        cls, call: market_pb2.Call, coordinator: str, stages: Sequence[market_pb2.StageBid]
    ) -> SentBid:
        """What is bid in answer to one call."""
        return cls(
            coordinator=coordinator,
            round=call.round,
            deadline_ms=call.deadline_ms,
            prices={offering(one.stage, one.model): int(one.price_per_unit) for one in stages},
            work={one.id: (offering(one.stage, one.model), one.units) for one in call.subtasks},
            seconds_per_unit={
                offering(one.stage, one.model): one.seconds_per_unit for one in stages
            },
            bytes_in={offer.id: offer.bytes_in for offer in call.subtasks},
        )

    def after(self, earlier: SentBid | None) -> SentBid:
        """This bid with what an earlier one of the same job adds to it."""
        if earlier is None:
            return self
        return self.model_copy(
            update={
                "work": {**earlier.work, **self.work},
                "prices": {**earlier.prices, **self.prices},
                "seconds_per_unit": {**earlier.seconds_per_unit, **self.seconds_per_unit},
                "bytes_in": {**earlier.bytes_in, **self.bytes_in},
            }
        )

    def ask(self, subtask: str) -> int | None:
        """Wei asked for a subtask; None if it was not in a call, or its stage not bid on."""
        stage, units = self.work.get(subtask, ("", 0.0))
        price = self.prices.get(stage)
        return None if price is None else math.ceil(float(price) * units)

    def covers(self, subtask: str, stage: str, units: float) -> bool:
        """Whether this very work was bid on: the call's stage, and no more units than it said."""
        called, most = self.work.get(subtask, ("", 0.0))
        return stage == called and units <= most * _UNITS_SLACK

    def most_bytes_in(self, subtask: str, inputs: int) -> int:
        """The most bytes that so many inputs may have: what the call said, with the slack that
        the stages that make them are given (`StageEntry.bytes_limit`)."""
        return BYTES_SLACK * self.bytes_in.get(subtask, 0) + MIB * inputs

    def seconds(self, subtask: str) -> float:
        """How long a subtask takes here; 0 when it is not known."""
        stage, units = self.work.get(subtask, ("", 0.0))
        return self.seconds_per_unit.get(stage, 0.0) * units


def check_award(
    award: market_pb2.Award, sender: str, me: str, bid: SentBid | None, now_ms: int
) -> None:
    """Everything that can be checked without the chain. Raises AwardRefused.

    Args:
        award: As received in an envelope that `sender` signed.
        me: This node's address.
        bid: What this node offered for the job, None if it did not.
    """
    if bid is None:
        raise AwardRefused("no_bid", "an award for a job that was not bid on")
    if sender != bid.coordinator or _address(award.terms.coordinator) != sender:
        raise AwardRefused("not_the_coordinator", f"an award by {sender}, who did not call")
    if _address(award.provider) != me:
        raise AwardRefused("not_for_me", "an award to another provider")
    if now_ms >= award.expires_at_ms or now_ms >= award.terms.deadline * 1000:
        raise AwardRefused("expired", "an award past its time")
    if award.terms.asset != NATIVE:
        raise AwardRefused("other_asset", "an award paid in a token")
    if award.terms.claim_window < MIN_CLAIM_WINDOW_S:
        raise AwardRefused("claim_window", "too little time to claim alone")
    _check_prices(award, bid)
    _check_proof(award, me)
    try:
        if verify_certificate(award.coordinator_certificate_der, now_ms) != sender:
            raise AwardRefused("bad_certificate", "the certificate is not the coordinator's")
    except BadCertificate as error:
        raise AwardRefused("bad_certificate", error.message) from error


def amount(text: str) -> int:
    """A decimal amount of wei from the wire, below 2**128. Raises AwardRefused."""
    if not text.isascii() or not text.isdecimal() or len(text) > 39 or int(text) >= 2**128:
        raise AwardRefused("malformed", "an amount that is none")
    return int(text)


def terms_of(award: market_pb2.Award) -> Terms:
    """The job's terms, as contracts and their client take them. Raises AwardRefused."""
    try:
        return Terms(
            buyer=_address(award.terms.buyer),
            nonce=award.terms.nonce,
            coordinator=_address(award.terms.coordinator),
            asset=_address(award.terms.asset),
            budget=amount(award.terms.budget),
            deadline=award.terms.deadline,
            claim_window=award.terms.claim_window,
            spec_hash=award.terms.spec_hash,
        )
    except BadTerms as error:
        raise AwardRefused("malformed", error.message) from error


def proof_of(award: market_pb2.Award) -> list[merkle.SumStep]:
    """The way from this provider's leaf to the awards' root. Raises AwardRefused."""
    steps = award.proof[: merkle.MAX_PROOF_STEPS + 1]
    return [merkle.SumStep(step.hash, amount(step.sum), step.left) for step in steps]


async def check_escrow(award: market_pb2.Award, market: MarketClient, from_block: int) -> None:
    """That the chain holds the budget, and has committed these very awards. Raises AwardRefused.

    Args:
        from_block: A block at or before the job's posting, as the market's own.
    """
    terms = terms_of(award)
    if terms.job_id(await market.domain()) != award.job_id:
        raise AwardRefused("other_terms", "the terms are not those of the job's id")
    # Only as deep as nothing is reorganised any more: an award that vanishes pays nobody.
    state = await market.job_state(
        award.job_id, from_block=from_block, at_block=await market.final_block(from_block)
    )
    if state.phase is not Phase.AWARDED:
        raise AwardRefused("not_escrowed", f"on chain the job is {state.phase}, not awarded")
    if (state.root, state.total) != (award.awards_root, amount(award.awards_sum)):
        raise AwardRefused("not_committed", "the chain holds other awards than this one")


def _check_prices(award: market_pb2.Award, bid: SentBid) -> None:
    prices = {one.id: amount(one.price) for one in award.subtasks}
    if len(prices) != len(award.subtasks) or not prices:
        raise AwardRefused("malformed", "an award without subtasks, or with one twice")
    for subtask, price in prices.items():
        ask = bid.ask(subtask)
        if ask is None:
            raise AwardRefused("no_bid", f"{subtask[:40]} was not bid on")
        if price < ask:
            raise AwardRefused("under_bid", f"{subtask[:40]} pays {price} wei, asked was {ask}")
    if amount(award.cap) < sum(prices.values()):
        raise AwardRefused("cap_too_low", "the award's cap is below its prices")


def _check_proof(award: market_pb2.Award, me: str) -> None:
    total = amount(award.awards_sum)
    if total > amount(award.terms.budget):
        raise AwardRefused("over_budget", "the awards come to more than the job's budget")
    leaf = (me, amount(award.cap))
    if not merkle.verify_sum_proof(leaf, proof_of(award), award.awards_root, total):
        raise AwardRefused("bad_proof", "the award does not stand in the awards' tree")


def _address(raw: bytes) -> str:
    if len(raw) != 20:
        raise AwardRefused("malformed", "an address that is none")
    return str(to_checksum_address(raw))
