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
        sunk: Earned by deliveries that did not come to an end.
        sending: Subtask to its delivery under way.
        promised, signature: The best voucher.
        agreed: The total that was consented to, if any.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="hex", val_json_bytes="hex"
    )

    cap: _Amount
    done: dict[str, _Amount] = Field(default_factory=dict)
    sunk: _Amount = 0
    sending: dict[str, Sending] = Field(default_factory=dict)
    promised: _Amount = 0
    signature: bytes = b""
    agreed: _Amount | None = None

    @property
    def required(self) -> Wei:
        """What the work so far has earned at least."""
        under_way = sum(one.earned for one in self.sending.values())
        return Wei(sum(self.done.values()) + self.sunk + under_way)

    def recapped(self, cap: int) -> JobLedger:
        """A later award for the same job raised the cap."""
        return self.model_copy(update={"cap": max(cap, self.cap)})

    def started(self, subtask: str, price: int, total: int) -> JobLedger:
        """A delivery begins; an earlier one of the same subtask is sunk."""
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
        sunk = min(self.sunk + self.sending[subtask].earned, self.promised)
        return self.model_copy(update={"sending": rest, "sunk": sunk})

    def finished(self, subtask: str, price: int) -> JobLedger:
        """The attestation was accepted: the full price is earned."""
        rest = {name: one for name, one in self.sending.items() if name != subtask}
        return self.model_copy(update={"sending": rest, "done": {**self.done, subtask: price}})

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
