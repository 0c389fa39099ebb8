"""What can go wrong between a client and the chain, each with its next step."""

from __future__ import annotations

from typing import Any

from reelmesh.contracts import artifacts_file
from reelmesh.errors import ChainError, UserError

_HINTS = {
    "InsufficientCredit": "deposit more coins to the market first",
    "DeadlinePassed": "the job's deadline is over; providers may claim, then the rest is refunded",
    "StateMismatch": "the job is closed or has changed; read its state again",
    "LaneBusy": "that lane's job is not closed; take the lane that nextNonce names",
    "NotCoordinator": "sign with the coordinator's key",
    "ClaimNotOpen": "claims open when the job is settled or its deadline is over",
    "ClaimClosed": "the claim window is over",
    "NothingToClaim": "this much was already paid",
    "RefundNotOpen": "refunds open after the deadline, or after the claim window once awarded",
    "BadDeadline": "give a deadline in seconds, in the future and at most 90 days away",
    "BadClaimWindow": "give a claim window of 1 second to 30 days",
    "SumAboveBudget": "the awards cost more than the job's budget",
    "StakeTooLow": "send at least the minimum stake",
    "Unbonding": "the stake is leaving; wait for the end of the unbonding delay",
}


class BadRpcUrl(UserError):
    """The RPC URL is not one that we can use."""


class ChainUnreachable(ChainError):
    """The RPC endpoint does not answer, or not in time."""


class WrongChain(ChainError):
    """The RPC endpoint serves another chain than the one expected."""


class NotDeployed(ChainError):
    """There is no contract code at an address that should have some."""


class InsufficientFunds(ChainError):
    """The account cannot pay a transaction's value and gas."""


class RpcRefused(ChainError):
    """The RPC endpoint answered with an error of its own (a limit, a method it lacks)."""


class NonceTaken(ChainError):
    """Another transaction of this account came first; this one was not sent."""


class TxTimeout(ChainError):
    """A transaction was sent, but its receipt did not come in time. It may still be mined."""

    def __init__(self, tx_hash: str, timeout_s: float) -> None:
        super().__init__(
            f"transaction {tx_hash} has no receipt after {timeout_s:g} s",
            "it may still be mined: look it up before sending again",
        )
        self.tx_hash = tx_hash


class ChainInconsistent(ChainError):
    """The endpoint's logs and state disagree (a lagging or reorganising node)."""


class TxReverted(ChainError):
    """A contract refused a call.

    Attributes:
        error: The custom error's name, such as "DeadlinePassed"; "" where none is known.
        arguments: Its arguments.
        tx_hash: The transaction, where it was mined; "" where it was refused before it was sent.
    """

    def __init__(
        self, call: str, error: str, arguments: tuple[Any, ...] = (), tx_hash: str = ""
    ) -> None:
        inside = ", ".join(map(str, arguments))
        told = f"{error}({inside})" if error else inside or "no reason given"
        super().__init__(f"the contract refused {call}: {told}", _HINTS.get(error, ""))
        self.error = error
        self.arguments = arguments
        self.tx_hash = tx_hash

    @classmethod
    def from_data(cls, call: str, data: Any, message: str, tx_hash: str = "") -> TxReverted:
        """From revert data as the RPC gave it (0x-hex), or its message where there is none."""
        if isinstance(data, str) and data.startswith("0x") and len(data) >= 10:
            try:
                known = artifacts_file.decode_error(bytes.fromhex(data[2:]))
            except ValueError:
                known = None
            if known is not None:
                return cls(call, known[0], known[1], tx_hash)
        return cls(call, "", (message[:200],) if message else (), tx_hash)
