"""Sees that the work is paid: looks at the chain, and claims alone where the coordinator does not.

A job's pay is looked at when the coordinator closed it and when its deadline is over. A settlement
that pays what the vouchers say ends it. Where the coordinator never settled, or settled for less
and left the rest locked, the best voucher is claimed by this node itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reelmesh.contracts import events
from reelmesh.contracts.chain import rpc_errors
from reelmesh.contracts.errors import ChainInconsistent, TxReverted
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.terms import JobState, Phase
from reelmesh.errors import ChainError
from reelmesh.node.logging import get_logger
from reelmesh.node.provider.award import amount, proof_of, terms_of
from reelmesh.node.provider.home import short
from reelmesh.node.provider.state import JobRecord, ProviderState, Standing
from reelmesh.scheduler.ids import ether

log = get_logger(__name__)

_CLOCKS_APART_S = 2


class Paymaster:
    """Looks after the pay of every unfinished job.

    Args:
        market: A client whose sender can pay for a claim's gas.
        me: This node's address.
        from_block: The block that the market was deployed in.
        finished: Called with a job's id once nothing more is awaited from it.
    """

    def __init__(
        self,
        market: MarketClient,
        state: ProviderState,
        me: str,
        *,
        from_block: int,
        clock_ms: Callable[[], int],
        finished: Callable[[JobRecord], None],
        every_s: float = 5.0,
    ) -> None:
        self._market = market
        self._state = state
        self._me = me
        self._from_block = from_block
        self._clock_ms = clock_ms
        self._finished = finished
        self._every_s = every_s
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look now: a job was closed."""
        self._wake.set()

    async def serve(self) -> None:
        """Look at what is due, again and again, until cancelled."""
        while True:
            self._wake.clear()
            for job in await self._state.unfinished():
                try:
                    await self.review(job)
                except (ChainError, ChainInconsistent) as error:
                    log.warning("pay_not_checked", job=short(job.job_id), why=str(error))
            try:
                async with asyncio.timeout(self._every_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def review(self, job: JobRecord) -> None:
        """Look at one job's pay, and claim or close it where that is due. Raises ChainError."""
        terms = terms_of(job.award)
        now_s = self._clock_ms() // 1000
        overdue = now_s > terms.deadline + _CLOCKS_APART_S
        if job.standing is Standing.WORKING and not overdue:
            return
        final = await self._market.final_block(self._from_block)
        chain = await self._market.job_state(
            job.award.job_id, from_block=self._from_block, at_block=final
        )
        paid = await self._paid(job, chain)
        block_s = await self._block_s()
        overdue = overdue or block_s > terms.deadline
        if paid >= job.ledger.promised and chain.phase in (Phase.CLOSED, Phase.LOCKED):
            await self._end(job, "paid" if paid else "nothing_owed", paid)
        elif chain.phase is Phase.CLOSED:
            await self._end(job, "closed_short", paid)
        elif block_s > terms.claim_end:
            await self._end(job, "claim_window_over", paid)
        elif overdue and job.ledger.promised == 0:
            await self._end(job, "nothing_owed", paid)
        elif chain.phase is Phase.LOCKED or (overdue and chain.phase is Phase.AWARDED):
            await self._claim(job, paid)

    async def _claim(self, job: JobRecord, paid: int) -> None:
        ledger = job.ledger
        leaf = (self._me, amount(job.award.cap))
        try:
            tx = await self._market.claim(
                terms_of(job.award), leaf, proof_of(job.award), ledger.promised, ledger.signature
            )
        except TxReverted as error:
            if error.error != "ClaimClosed":
                raise
            await self._end(job, "claim_window_over", paid)
            return
        claimed = sum(
            event.amount
            for event in self._market.events_of(tx)
            if isinstance(event, events.Claimed) and event.provider == self._me
        )
        log.info(
            "claimed", job=short(job.job_id), eth=ether(claimed), tx=tx.tx_hash, gas=tx.gas_used
        )
        await self._end(job, "claimed", paid + claimed)

    async def _block_s(self) -> int:
        """The newest block's time: it decides about claims, not this machine's clock.

        A chain without traffic makes no blocks; there it lags, and the contract has the last word.
        """
        async with rpc_errors("eth_getBlockByNumber"):
            block = await self._market.w3.eth.get_block("latest")
        return int(block["timestamp"])

    async def _paid(self, job: JobRecord, chain: JobState) -> int:
        """What this node got from the job so far: by settlement and by claims."""
        history = await self._market.events(self._from_block, chain.block, job.award.job_id)
        paid = 0
        for event in history:
            if isinstance(event, events.Settled):
                paid += sum(amount for who, amount in event.payouts if who == self._me)
            elif isinstance(event, events.Claimed) and event.provider == self._me:
                paid += event.amount
        return paid

    async def _end(self, job: JobRecord, reason: str, paid: int) -> None:
        say = log.warning if paid < job.ledger.promised else log.info
        promised = ether(job.ledger.promised)
        say("paid", job=short(job.job_id), eth=ether(paid), promised_eth=promised, how=reason)
        record = job.ended(reason, paid)
        await self._state.save_job(record)
        self._finished(record)
