"""What one job owes this provider, and what it has been promised. Pure, kept as JSON.

`required` is what the work done so far has earned; `promised` is the best voucher in hand. The
provider goes on only while the promise keeps up, so that a coordinator that stops paying gets no
more than what is on the wire.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reelmesh.errors import PeerError
from reelmesh.node.rpc.delivery import delivered_share
from reelmesh.scheduler.ids import Wei

_Amount = Annotated[int, Field(ge=0, lt=2**128)]


class Unpaid(PeerError):
    """The coordinator's vouchers fell behind the work; no more is sent to it."""


class BadVoucher(PeerError):
    """A voucher is not for this job and provider, not the coordinator's, or not an amount."""


class Sending(BaseModel):
    """A delivery under way: the subtask's price in wei, bytes accepted, bytes in all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price: _Amount
    accepted: int = Field(ge=0)
    total: int = Field(gt=0)

    @property
    def earned(self) -> Wei:
        """The least that the accepted bytes are worth."""
        return Wei(delivered_share(self.price, self.accepted, self.total))


class JobLedger(BaseModel):
    """One job's account with this provider.

    Attributes:
        cap: The most that this job may pay here; the leaf in the awards' tree.
        done: Attested subtask to its price.
        advances: Subtask to what its deliveries that did not come to an end have earned. Sent
            again, the subtask earns only what goes beyond that, so that the whole never passes its
            price; the coordinator counts the same way.
        sending: Subtask to its delivery under way.
        promised, signature: The best voucher.
        agreed: The total that was consented to, if any.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="hex", val_json_bytes="hex"
    )

    cap: _Amount
    done: dict[str, _Amount] = Field(default_factory=dict)
    advances: dict[str, _Amount] = Field(default_factory=dict)
    sending: dict[str, Sending] = Field(default_factory=dict)
    promised: _Amount = 0
    signature: bytes = b""
    agreed: _Amount | None = None

    @property
    def required(self) -> Wei:
        """What the work so far has earned at least."""
        known = self.done.keys() | self.advances.keys() | self.sending.keys()
        return Wei(sum(self._earned(subtask) for subtask in known))

    def needs(self, subtask: str, price: int) -> int:
        """How much of the cap is taken when this subtask is done at this price."""
        earned = self._earned(subtask)
        return self.required - earned + max(price, earned)

    def recapped(self, cap: int) -> JobLedger:
        """A later award for the same job raised the cap."""
        return self.model_copy(update={"cap": max(cap, self.cap)})

    def started(self, subtask: str, price: int, total: int) -> JobLedger:
        """A delivery begins; what an earlier one of the same subtask earned is an advance."""
        ledger = self.stopped(subtask)
        sending = {**ledger.sending, subtask: Sending(price=price, accepted=0, total=total)}
        return ledger.model_copy(update={"sending": sending})

    def accepted(self, subtask: str, accepted_bytes: int) -> JobLedger:
        """The coordinator acknowledged so many bytes of a delivery."""
        one = self.sending[subtask]
        if not one.accepted <= accepted_bytes <= one.total:
            raise BadVoucher("the coordinator acknowledges bytes that were not sent")
        raised = one.model_copy(update={"accepted": accepted_bytes})
        return self.model_copy(update={"sending": {**self.sending, subtask: raised}})

    def stopped(self, subtask: str) -> JobLedger:
        """A delivery ended without its attestation; what it earned stays earned."""
        if subtask not in self.sending:
            return self
        rest = {name: one for name, one in self.sending.items() if name != subtask}
        earned = self._earned(subtask)
        # What was never promised is given up: no voucher will come for it any more.
        covered = max(0, self.promised - (self.required - earned))
        kept = max(self.advances.get(subtask, 0), min(earned, covered))
        advances = {**self.advances, subtask: kept} if kept else self.advances
        return self.model_copy(update={"sending": rest, "advances": advances})

    def finished(self, subtask: str, price: int) -> JobLedger:
        """The attestation was accepted: the full price is earned."""
        sending = {name: one for name, one in self.sending.items() if name != subtask}
        advances = {name: due for name, due in self.advances.items() if name != subtask}
        done = {**self.done, subtask: price}
        update = {"sending": sending, "advances": advances, "done": done}
        return self.model_copy(update=update)

    def promise(self, amount: int, signature: bytes) -> JobLedger:
        """A verified voucher; an older one, which promises less, changes nothing."""
        if amount <= self.promised:
            return self
        return self.model_copy(update={"promised": amount, "signature": signature})

    def behind(self, slack: int) -> bool:
        """Whether pay lags the work by more than `slack` wei, or past the cap is asked for."""
        return self.promised + slack < min(self.required, self.cap)

    def may_agree(self, total: int) -> bool:
        """Whether `total` is all that this provider is owed."""
        return total >= max(self.promised, min(self.required, self.cap))

    def agree(self, total: int) -> JobLedger:
        """This provider consented to `total`."""
        return self.model_copy(update={"agreed": total})

    def _earned(self, subtask: str) -> int:
        """What one subtask has earned: the most that any of its deliveries came to."""
        sending = self.sending.get(subtask)
        now = sending.earned if sending is not None else 0
        return max(now, self.advances.get(subtask, 0), self.done.get(subtask, 0))
