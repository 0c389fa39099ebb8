"""What an auction decided: who does what at what price, and why everyone else does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei


class LossReason(StrEnum):
    """Why a provider does not run a subtask, or why nobody does."""

    OUTBID = "outbid"
    TOO_SLOW = "too_slow"
    NO_SLOT = "no_slot"
    LATE = "late"
    OVER_RESERVE = "over_reserve"
    NO_MEMORY = "no_memory"
    EXCLUDED = "excluded"
    STAGE_NOT_OFFERED = "stage_not_offered"
    NO_BIDS = "no_bids"
    MODEL_NOT_OFFERED = "model_not_offered"


EXPLAIN: Mapping[LossReason, str] = {
    LossReason.OUTBID: "another asked less, time counted in",
    LossReason.TOO_SLOW: "the winner asked as much or more, but finishes earlier",
    LossReason.NO_SLOT: "its slots are taken, here by other subtasks that it won",
    LossReason.LATE: "it cannot finish in time for the job's deadline",
    LossReason.OVER_RESERVE: "the ask is above the most that will be paid",
    LossReason.NO_MEMORY: "the subtask needs more memory than the device has",
    LossReason.EXCLUDED: "it failed this subtask before",
    LossReason.STAGE_NOT_OFFERED: "its bid does not offer this stage",
    LossReason.MODEL_NOT_OFFERED: "it does not offer the model asked for, or has other files of it",
    LossReason.NO_BIDS: "no provider answered the call",
}
"""One plain line for each reason."""


class Assignment(BaseModel):
    """A won subtask. Times are seconds from the clearing, as planned, transfers included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: NodeAddress
    price: Wei
    start_s: float
    finish_s: float


class Loss(BaseModel):
    """A subtask that a bidder did not win. winning_price is None where nobody won it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: NodeAddress
    subtask: SubtaskId
    reason: LossReason
    winning_price: Wei | None


@dataclass(frozen=True)
class Clearing:
    """An auction's outcome. Every (bidder, subtask) is either an assignment or a loss.

    Attributes:
        assignments: by subtask, in the order that they were decided.
        unplaced: subtasks that nobody won, with the most hopeful reason among the bidders.
        reasons: per subtask, one code (an index into `CODES`) per bidder.
        bidders: all of them, sorted by address.
    """

    assignments: dict[SubtaskId, Assignment]
    unplaced: dict[SubtaskId, LossReason]
    bidders: tuple[NodeAddress, ...]
    reasons: Mapping[SubtaskId, bytes]

    @property
    def total(self) -> Wei:
        """The sum of all prices."""
        return Wei(sum(won.price for won in self.assignments.values()))

    @property
    def makespan_s(self) -> float:
        """Planned seconds until the last subtask is delivered; 0 where none is placed."""
        return max((won.finish_s for won in self.assignments.values()), default=0.0)

    def caps(self) -> dict[NodeAddress, Wei]:
        """Each winner's prices added up: its leaf in the awards' tree. Sorted by address."""
        sums: dict[NodeAddress, int] = {}
        for won in self.assignments.values():
            sums[won.provider] = sums.get(won.provider, 0) + won.price
        return {provider: Wei(sums[provider]) for provider in sorted(sums)}

    @cached_property
    def losses(self) -> list[Loss]:
        """All losses, by subtask and then by bidder. Built when first asked for."""
        return list(self._losses(range(len(self.bidders))))

    def losses_of(self, provider: NodeAddress) -> list[Loss]:
        """What one bidder did not win, and why."""
        return list(self._losses([self.bidders.index(provider)]))

    def _losses(self, who: range | list[int]) -> Iterator[Loss]:
        for subtask, codes in self.reasons.items():
            won = self.assignments.get(subtask)
            for i in who:
                if won is None or self.bidders[i] != won.provider:
                    yield Loss(
                        provider=self.bidders[i],
                        subtask=subtask,
                        reason=CODES[codes[i]],
                        winning_price=None if won is None else won.price,
                    )


CODES: tuple[LossReason, ...] = tuple(LossReason)
CODE_OF: Mapping[LossReason, int] = {reason: code for code, reason in enumerate(CODES)}
