"""The market's typed client: escrow, awards, settlement, claims and refunds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from eth_utils.address import to_checksum_address

from reelmesh.contracts import chain, events, merkle
from reelmesh.contracts.chain import Sender, TxResult, Web3Client
from reelmesh.contracts.client import Client
from reelmesh.contracts.eip712 import Domain, compact_form
from reelmesh.contracts.errors import ChainInconsistent
from reelmesh.contracts.events import MarketEvent
from reelmesh.contracts.merkle import Leaf, SumStep
from reelmesh.contracts.state import replay
from reelmesh.contracts.terms import (
    NATIVE,
    JobState,
    Payment,
    Phase,
    Terms,
    commitment,
)

_NO_SIGNATURE = (bytes(32), bytes(32))


@dataclass(frozen=True)
class Posted:
    """A job that is now in escrow."""

    job_id: bytes
    terms: Terms
    tx: TxResult


class MarketClient(Client):
    """One method for each of the contract's functions; see contracts/src/interfaces/IMarket.sol.

    first_block is where to look for events from: on a public chain, the deployment's block. Amounts
    are ints in the asset's smallest unit, times Unix seconds. Methods that send raise
    TxReverted with the contract's custom error, InsufficientFunds, TxTimeout or ChainUnreachable.
    """

    NAME: ClassVar[str] = "Market"

    def __init__(
        self,
        w3: Web3Client,
        address: str,
        sender: Sender | None = None,
        *,
        first_block: int = 0,
    ) -> None:
        super().__init__(w3, address, sender)
        self._first_block = first_block
        self._posting = asyncio.Lock()

    # ---- coins in and out

    async def deposit(self, amount: int) -> TxResult:
        """Turn `amount` wei of the sender into credit."""
        return await self._send("deposit", value=amount)

    async def deposit_token(self, amount: int) -> TxResult:
        """Turn tokens into credit; the market must have been approved for them."""
        return await self._send("depositToken", amount)

    async def withdraw(self, asset: str, amount: int, to: str) -> TxResult:
        """Pay `amount` of the sender's credit out to `to`."""
        return await self._send("withdraw", asset, amount, to)

    async def credit_of(self, account: str, asset: str = NATIVE) -> int:
        """An account's credit."""
        return int(await self._read("creditOf", asset, to_checksum_address(account)))

    async def next_nonce(self, buyer: str) -> int:
        """The nonce that the buyer's next job takes in its first free lane."""
        return int(await self._read("nextNonce", to_checksum_address(buyer)))

    async def token(self) -> str | None:
        """The one token that this market takes besides the native coin."""
        address = str(await self._read("TOKEN"))
        return None if address == NATIVE else address

    # ---- a job's life

    async def plan_post(
        self,
        spec_hash: bytes,
        budget: int,
        deadline: int,
        claim_window: int,
        coordinator: str,
        asset: str = NATIVE,
    ) -> Terms:
        """The terms, and with them the job id, that the sender's next `post` will have.

        Write them down before posting: after a crash, `job_state` of that id tells whether the
        job was posted.
        """
        buyer = self.sender.address
        return Terms(
            buyer=buyer,
            nonce=await self.next_nonce(buyer),
            coordinator=coordinator,
            asset=asset,
            budget=budget,
            deadline=deadline,
            claim_window=claim_window,
            spec_hash=spec_hash,
        )

    async def post(
        self,
        spec_hash: bytes,
        budget: int,
        deadline: int,
        claim_window: int,
        coordinator: str,
        asset: str = NATIVE,
        *,
        value: int = 0,
    ) -> Posted:
        """Put `budget` in escrow; `value` wei sent along are credited to the sender first."""
        # One at a time, or two jobs would be planned into one lane.
        async with self._posting:
            terms = await self.plan_post(
                spec_hash, budget, deadline, claim_window, coordinator, asset
            )
            args = (spec_hash, budget, deadline, claim_window, coordinator, asset, terms.lane)
            tx = await self._send("post", *args, value=value)
        for event in self.events_of(tx):
            if isinstance(event, events.JobPosted):
                return Posted(event.job_id, event.terms, tx)
        raise ChainInconsistent(f"transaction {tx.tx_hash} posted no job")

    async def award(self, terms: Terms, root: bytes, total: int) -> TxResult:
        """Coordinator: commit the awards' tree. See `merkle.sum_root`."""
        return await self._send("award", terms.as_tuple(), root, total)

    async def amend(self, terms: Terms, old: Sequence[Leaf], new: Sequence[Leaf]) -> TxResult:
        """Coordinator: replace the awards' tree; no provider's cap may fall."""
        both = (merkle.sort_leaves(old), merkle.sort_leaves(new))
        return await self._send("amend", terms.as_tuple(), *both)

    async def settle(
        self, terms: Terms, payments: Sequence[Payment], attestations_root: bytes
    ) -> TxResult:
        """Coordinator: pay all awards' providers and refund the rest. Raises BadSignature."""
        by_address = sorted(payments, key=lambda p: int(p.provider, 16))
        payouts = [
            (p.provider, p.cap, p.total, *(compact_form(p.consent) if p.consent else _NO_SIGNATURE))
            for p in by_address
        ]
        return await self._send("settle", terms.as_tuple(), payouts, attestations_root)

    async def claim(
        self, terms: Terms, leaf: Leaf, proof: Sequence[SumStep], amount: int, voucher: bytes
    ) -> TxResult:
        """Pay what a voucher promises beyond what was paid; anyone may send it.

        Args:
            leaf: The provider and its cap, as awarded.
            proof: From the award. Where the chain has told a newer tree (after an amendment or a
                settlement without consent) leaf and proof are taken from there instead.
            amount: The voucher's cumulative amount.
            voucher: The coordinator's 65-byte signature over it.
        """
        state = await self.job_state(terms.job_id(await self.domain()))
        if state.leaves is not None and leaf[0] in dict(state.leaves):
            leaf = (leaf[0], dict(state.leaves)[leaf[0]])
            proof = merkle.sum_proof(state.leaves, leaf[0])
        steps = [(step.hash, step.sum, step.left) for step in proof]
        settled = state.phase is Phase.LOCKED
        rest = (settled, leaf, steps, amount, *compact_form(voucher))
        return await self._send("claim", terms.as_tuple(), *rest)

    async def cancel(self, terms: Terms) -> TxResult:
        """Buyer or coordinator: end a job without an award; its whole budget returns."""
        return await self._send("cancel", terms.as_tuple())

    async def refund(self, terms: Terms) -> TxResult:
        """Anyone: return what is left to the buyer once nothing can be claimed any more."""
        state = await self.job_state(terms.job_id(await self.domain()))
        committed = (state.root, state.total, state.phase is Phase.LOCKED)
        return await self._send("refund", terms.as_tuple(), committed)

    # ---- what the chain knows

    async def domain(self) -> Domain:
        """The EIP-712 domain of vouchers, consents and attestations of this market."""
        async with chain.rpc_errors("eth_chainId"):
            return Domain(await self.w3.eth.chain_id, self.address)

    async def final_block(self, least: int = 0) -> int:
        """The newest block that is deep enough to rely on; not below `least`."""
        async with chain.rpc_errors("eth_blockNumber"):
            chain_id, latest = await asyncio.gather(self.w3.eth.chain_id, self.w3.eth.block_number)
        return max(least, int(latest) + 1 - chain.confirmations_for(int(chain_id)))

    async def job_state(
        self, job_id: bytes, *, from_block: int | None = None, at_block: int | None = None
    ) -> JobState:
        """Where a job stands, replayed from its events and checked against its slot.

        Args:
            from_block: The block of its posting or any before it; the client's first_block where
                None.
            at_block: The block to look at; the latest where None.

        Raises:
            ChainInconsistent: logs and state disagree; ask again.
        """
        if at_block is None:
            async with chain.rpc_errors("eth_blockNumber"):
                at_block = int(await self.w3.eth.block_number)
        since = self._first_block if from_block is None else from_block
        logs = await self._logs(since, at_block, [None, job_id])
        state = replay(job_id, at_block, [events.from_log(log) for log in logs])
        if state.terms is None:
            return state
        key = (state.terms.buyer, state.terms.nonce)
        slot = bytes(await self._read("commitmentOf", *key, block=at_block))
        if not _agrees(state, slot):
            raise ChainInconsistent(
                f"events and state of job 0x{job_id.hex()} disagree at block {at_block}",
                "the RPC endpoint may be catching up: try again",
            )
        return state

    async def paid_of(self, job_id: bytes, provider: str) -> int:
        """Paid to a provider by claims, and by a settlement that it did not consent to."""
        return int(await self._read("paidOf", job_id, to_checksum_address(provider)))

    async def events(
        self, from_block: int, to_block: int, job_id: bytes | None = None
    ) -> list[MarketEvent]:
        """All events of both blocks and those between, in order; of one job where it is given."""
        topics: list[Any] = [] if job_id is None else [None, job_id]
        return [events.from_log(log) for log in await self._logs(from_block, to_block, topics)]

    def events_of(self, tx: TxResult) -> list[MarketEvent]:
        """This market's events in a transaction's receipt."""
        return [
            events.from_log(self._decode(log))
            for log in tx.events
            if log["address"] == self.address and bytes(log["topics"][0]) in self._topics
        ]


def _agrees(state: JobState, slot: bytes) -> bool:
    """Whether a job's lane holds what its events say; once closed, it may hold any later job."""
    if state.phase is Phase.OPEN:
        return slot == state.job_id
    settled = state.phase is Phase.LOCKED
    committed = commitment(state.job_id, state.root, state.total, settled)
    if settled or state.phase is Phase.AWARDED:
        return slot == committed
    return slot not in (state.job_id, committed)
