"""Fixtures with a real local chain: `anvil`, `deployment`, `funded_key`, and clients on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from reelmesh.contracts import chain
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender, Web3Client
from reelmesh.contracts.deploy import Deployment, deploy
from reelmesh.contracts.keys import LocalKey
from reelmesh.contracts.market import MarketClient

MIN_STAKE = 10**16
UNBONDING_DELAY_S = 3600

FundedKey = Callable[[], Awaitable[LocalKey]]
"""Makes a fresh random key with 1000 coins."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def anvil() -> AsyncIterator[Anvil]:
    """One chain in memory for a test module; its tests share it and keep to their own accounts.

    Not for the whole run: a test that lets chain time pass would let the deadlines of another pass.
    """
    async with await Anvil().start() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deployment(anvil: Anvil) -> Deployment:
    """The contracts on `anvil`, with the test token."""
    w3 = await chain.connect(anvil.rpc_url)
    try:
        sender = Sender(w3, await _fund(anvil))
        return await deploy(
            sender,
            min_stake=MIN_STAKE,
            unbonding_delay=UNBONDING_DELAY_S,
            with_test_token=True,
        )
    finally:
        await chain.disconnect(w3)


@pytest_asyncio.fixture
async def w3(anvil: Anvil, deployment: Deployment) -> AsyncIterator[Web3Client]:
    """A client of `anvil` in this test's own event loop."""
    client = await chain.connect(anvil.rpc_url, deployment.chain_id)
    yield client
    await chain.disconnect(client)


@pytest.fixture
def funded_key(anvil: Anvil) -> FundedKey:
    """Makes fresh random keys with 1000 coins each."""

    async def make() -> LocalKey:
        return await _fund(anvil)

    return make


@pytest_asyncio.fixture
async def market_of(
    w3: Web3Client, deployment: Deployment, funded_key: FundedKey
) -> Callable[[LocalKey], MarketClient]:
    """Makes a market client that signs with a key."""
    return lambda key: MarketClient(w3, deployment.market, Sender(w3, key))


async def _fund(anvil: Anvil) -> LocalKey:
    """Through a connection of its own: the tests that share `anvil` have event loops of theirs."""
    key = LocalKey.generate()
    w3 = await chain.connect(anvil.rpc_url)
    try:
        await w3.provider.make_request(
            "anvil_setBalance",  # type: ignore[arg-type]
            [key.address, hex(10**21)],
        )
    finally:
        await chain.disconnect(w3)
    return key
