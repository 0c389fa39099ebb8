"""Asking the chain about a job before anything is sent: what was sent before a crash may be there.

Every transaction of a job is found again through its on-chain state, so that a coordinator that
does not know whether its transaction arrived looks first and sends only what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from eth_typing import HexStr
from eth_utils.address import to_checksum_address

from reelmesh.contracts import chain
from reelmesh.contracts.events import MarketEvent
from reelmesh.contracts.terms import JobState
from reelmesh.errors import ChainError
from reelmesh.node.coordinator.records import JobRecord
from reelmesh.node.coordinator.services import Services

E = TypeVar("E", bound=MarketEvent)


class NotDeepEnough(ChainError):
    """A transaction is in a block, but too few have come after it to rely on it."""


@dataclass(frozen=True)
class Found:
    """A job as the chain has it, as deep as it must be to count, with all its events."""

    state: JobState
    events: Sequence[MarketEvent]

    def last(self, kind: type[E]) -> E | None:
        """The newest event of a kind."""
        return next((e for e in reversed(self.events) if isinstance(e, kind)), None)


async def look_up(services: Services, record: JobRecord) -> Found:
    """The job at the newest block that has enough confirmations.

    Raises NotDeepEnough while a newer block knows more of the job, so that nothing is done on the
    ground of what is about to change; ChainError where the chain cannot be asked.
    """
    async with chain.rpc_errors("eth_blockNumber"):
        latest = int(await services.market.w3.eth.block_number)
    block = max(record.from_block, latest + 1 - chain.confirmations_for(record.chain_id))
    job_id = record.job_bytes
    events = await services.market.events(record.from_block, latest, job_id)
    if any(event.block > block for event in events):
        raise NotDeepEnough("the job's last transaction waits for its confirmations", "it is seen")
    state = await services.market.job_state(job_id, from_block=record.from_block, at_block=block)
    return Found(state, events)


async def gas_of(services: Services, tx_hash: str) -> int:
    """The gas that a mined transaction used."""
    async with chain.rpc_errors("eth_getTransactionReceipt"):
        receipt = await services.market.w3.eth.get_transaction_receipt(HexStr(tx_hash))
    return int(receipt["gasUsed"])


async def nothing_pending(services: Services) -> bool:
    """Whether the chain has mined every transaction of ours that it knows of."""
    address = to_checksum_address(services.market.sender.address)
    async with chain.rpc_errors("eth_getTransactionCount"):
        count = services.market.w3.eth.get_transaction_count
        return int(await count(address, "pending")) == int(await count(address, "latest"))
