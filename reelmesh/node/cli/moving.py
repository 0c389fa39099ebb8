"""Taking coins out: earned credit from the Market, a stake from Providers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reelmesh.errors import UserError

if TYPE_CHECKING:
    from reelmesh.contracts.chain import Sender
    from reelmesh.contracts.deploy import Deployment
    from reelmesh.node.wallet.keys import NodeKey


class NothingToTake(UserError):
    """The account holds less than what is to be taken out."""


class StakeHeld(UserError):
    """The stake cannot leave yet, or there is none."""


@dataclass(frozen=True)
class Moved:
    """What a transaction moved. amount in wei; free_at: Unix seconds, where a delay runs."""

    tx: str
    amount: int
    free_at: int | None = None


async def withdraw_credit(
    rpc_url: str, deployment: Path, key: NodeKey, to: str, amount: int | None
) -> Moved:
    """Pay `amount` wei of an account's Market credit to `to`; None takes all of it.

    Raises NothingToTake, ChainError.
    """
    from reelmesh.contracts.market import MarketClient
    from reelmesh.contracts.terms import NATIVE

    async with _sending(rpc_url, deployment, key) as (sender, known):
        market = MarketClient(sender.w3, known.market, sender)
        credit = await market.credit_of(key.address)
        wanted = credit if amount is None else amount
        if not 0 < wanted <= credit:
            raise NothingToTake(
                f"{key.address} has {credit} wei of credit in the market",
                "see what there is: reelmesh account show NAME --rpc URL --deployment FILE",
            )
        done = await market.withdraw(NATIVE, wanted, to)
        return Moved(done.tx_hash, wanted)


async def leave_market(rpc_url: str, deployment: Path, operator: NodeKey) -> Moved:
    """Begin to unbond an operator's stake or, once the delay is over, pay it to the operator.

    Raises StakeHeld, ChainError.
    """
    from reelmesh.contracts.providers import ProvidersClient

    async with _sending(rpc_url, deployment, operator) as (sender, known):
        providers = ProvidersClient(sender.w3, known.providers, sender)
        mine = await providers.provider_of(operator.address)
        if mine is None:
            raise StakeHeld(f"{operator.address} has staked for no provider", "name the operator")
        if mine.unbonds_at is None:
            begun = await providers.begin_unbonding()
            mine = await providers.provider_of(operator.address)
            return Moved(begun.tx_hash, 0, mine.unbonds_at if mine else None)
        now = int((await sender.w3.eth.get_block("latest"))["timestamp"])
        if now < mine.unbonds_at:
            raise StakeHeld(
                f"the stake is held until {local_time(mine.unbonds_at)}",
                "run the same command again after that",
            )
        done = await providers.withdraw_stake(operator.address)
        return Moved(done.tx_hash, mine.stake)


def local_time(unix_s: int) -> str:
    """A moment as a person reads it, in this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(unix_s))


@asynccontextmanager
async def _sending(
    rpc_url: str, deployment: Path, key: NodeKey
) -> AsyncIterator[tuple[Sender, Deployment]]:
    from reelmesh.contracts.chain import Sender, connect, disconnect
    from reelmesh.contracts.deploy import Deployment

    known = Deployment.load(deployment)
    w3 = await connect(rpc_url, known.chain_id)
    try:
        yield Sender(w3, key), known
    finally:
        await disconnect(w3)
