"""Coins leave only as their owner says: earned credit, and a stake after its delay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender, connect, disconnect
from reelmesh.contracts.deploy import deploy
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.node.cli.moving import NothingToTake, StakeHeld, leave_market, withdraw_credit
from reelmesh.node.wallet.keys import NodeKey

STAKE, DELAY_S, CREDIT = 10**16, 600, 5 * 10**15
TO = "0x00000000000000000000000000000000000000A1"


class World:
    """A chain of its own, as its time is moved; one funded key with credit and a stake."""

    def __init__(self, anvil: Anvil, file: Path, key: NodeKey) -> None:
        self.anvil, self.file, self.key = anvil, file, key

    async def balance(self, address: str) -> int:
        w3 = await connect(self.anvil.rpc_url)
        try:
            return int(await w3.eth.get_balance(address))  # type: ignore[arg-type]
        finally:
            await disconnect(w3)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with await Anvil().start() as anvil:
        key = NodeKey.generate()
        await anvil.fund(key.address, 10**18)
        w3 = await connect(anvil.rpc_url)
        sender = Sender(w3, key)
        known = await deploy(
            sender, min_stake=STAKE, unbonding_delay=DELAY_S, with_test_token=False
        )
        known.save(tmp_path / "deployment.json")
        await MarketClient(w3, known.market, sender).deposit(CREDIT)
        await ProvidersClient(w3, known.providers, sender).register(NodeKey.generate(), STAKE)
        await disconnect(w3)
        yield World(anvil, tmp_path / "deployment.json", key)


async def test_credit_goes_where_its_owner_says(world: World) -> None:
    rpc = world.anvil.rpc_url
    part = await withdraw_credit(rpc, world.file, world.key, TO, 10**15)
    assert (part.amount, await world.balance(TO)) == (10**15, 10**15)
    rest = await withdraw_credit(rpc, world.file, world.key, TO, None)
    assert (rest.amount, await world.balance(TO)) == (CREDIT - 10**15, CREDIT)


async def test_more_than_the_credit_is_refused_and_moves_nothing(world: World) -> None:
    rpc = world.anvil.rpc_url
    with pytest.raises(NothingToTake, match=str(CREDIT)):
        await withdraw_credit(rpc, world.file, world.key, TO, CREDIT + 1)
    with pytest.raises(NothingToTake):
        await withdraw_credit(rpc, world.file, NodeKey.generate(), TO, None)
    assert await world.balance(TO) == 0


async def test_a_stake_comes_back_after_the_delay_and_not_before(world: World) -> None:
    rpc = world.anvil.rpc_url
    begun = await leave_market(rpc, world.file, world.key)
    assert begun.free_at is not None
    with pytest.raises(StakeHeld, match="held until"):
        await leave_market(rpc, world.file, world.key)
    await world.anvil.advance(DELAY_S + 1)
    before = await world.balance(world.key.address)
    done = await leave_market(rpc, world.file, world.key)
    assert done.amount == STAKE
    assert STAKE * 9 // 10 < await world.balance(world.key.address) - before < STAKE
    with pytest.raises(StakeHeld, match="staked for no provider"):
        await leave_market(rpc, world.file, world.key)
