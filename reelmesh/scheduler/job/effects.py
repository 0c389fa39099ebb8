"""What a job asks of the world. Every effect may be run twice without harm.

A standing effect goes on until the state no longer asks for it; equal values are the same effect,
so a driver starts what is new and stops what is gone. The others are done once, and nothing is
lost when a crash swallows one: whoever waits for it asks again.
"""

from __future__ import annotations

from reelmesh.scheduler.ids import NodeAddress, SubtaskId
from reelmesh.scheduler.job.state import Amount, Frozen, Leaf, Millis


class SubmitEscrow(Frozen):
    """Standing: post the job on chain, unless it is there."""


class PublishCall(Frozen):
    """Standing: announce the call, again and again until it closes."""

    round: int
    closes_ms: Millis


class ClearBids(Frozen):
    """Standing: run the auction over this round's bids."""

    round: int


class CommitAwards(Frozen):
    """Standing: bring this awards' tree on chain (`award`, or `amend` where one is there)."""

    round: int
    leaves: tuple[Leaf, ...]


class SendAward(Frozen):
    """Standing: tell a provider what it won in a round, until it has acknowledged it."""

    provider: NodeAddress
    round: int


class SubmitSettlement(Frozen):
    """Standing: settle on chain with the consents that are there."""


class DeliverResult(Frozen):
    """Standing: write the video and the receipt."""


class SubmitRefund(Frozen):
    """Standing: from this time on, bring back what is still locked, then rewrite the receipt."""

    not_before_ms: Millis


class SendLosses(Frozen):
    """Once: tell bidders what they did not win, and why."""

    round: int


class RaiseVoucher(Frozen):
    """Once: the provider may be given a voucher over this cumulative amount."""

    provider: NodeAddress
    amount: Amount


class CancelLease(Frozen):
    """Once: stop a run; its provider learns it with its next progress report at the latest."""

    provider: NodeAddress
    subtask: SubtaskId
    token: str
    reason: str


class WakeProviders(Frozen):
    """Once: what providers wait for may be there; look again."""


Standing = (
    SubmitEscrow
    | PublishCall
    | ClearBids
    | CommitAwards
    | SendAward
    | SubmitSettlement
    | DeliverResult
    | SubmitRefund
)
Once = SendLosses | RaiseVoucher | CancelLease | WakeProviders
Effect = Standing | Once
