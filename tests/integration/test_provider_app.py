"""The whole provider, with a real chain, worker and libp2p host: it starts, tells, and goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender, Web3Client
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.errors import ChainUnreachable, WrongChain
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.errors import UserError
from reelmesh.node.config import ProviderConfig
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.p2p.network import MarketNetwork
from reelmesh.node.provider.app import NotRegistered, run_provider
from reelmesh.node.provider.gas import claim_gas_warning
from reelmesh.node.provider.home import HomeInUse
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2

pytestmark = [pytest.mark.slow]


@pytest.fixture
def config(tmp_path: Path, anvil: Anvil, deployment: Deployment) -> ProviderConfig:
    deployment.save(tmp_path / "deployment.json")
    return ProviderConfig(
        home=tmp_path / "provider",
        rpc_url=anvil.rpc_url,
        chain_id=deployment.chain_id,
        deployment=tmp_path / "deployment.json",
        device="cpu",
        stages=("assemble",),
    )


@pytest.fixture
async def operator(w3: Web3Client) -> NodeKey:
    key = NodeKey.generate()
    amount = hex(10**21)
    await w3.provider.make_request("anvil_setBalance", [key.address, amount])  # type: ignore[arg-type]
    return key


@pytest.fixture
async def neighbour() -> AsyncIterator[tuple[P2PHost, asyncio.Queue[market_pb2.CapacityAd]]]:
    """Another node, and the ads that it hears."""
    key = NodeKey.generate()
    host = P2PHost(key)
    heard: asyncio.Queue[market_pb2.CapacityAd] = asyncio.Queue()

    async def hear(_sender: str, ad: market_pb2.CapacityAd) -> None:
        heard.put_nowait(ad)

    MarketNetwork(host, key).on_ad(hear)
    await host.start()
    yield host, heard
    await host.stop()


async def test_a_node_without_a_stake_is_told_how_to_register(config: ProviderConfig) -> None:
    with pytest.raises(NotRegistered) as caught:
        await run_provider(config, NodeKey.generate())
    assert "provider register" in caught.value.hint


async def test_the_wrong_chain_and_no_chain_are_said_plainly(config: ProviderConfig) -> None:
    with pytest.raises(WrongChain):
        await run_provider(config.model_copy(update={"chain_id": 5}), NodeKey.generate())
    nowhere = config.model_copy(update={"rpc_url": "http://127.0.0.1:1"})
    with pytest.raises(ChainUnreachable):
        await run_provider(nowhere, NodeKey.generate())


async def test_a_stage_that_does_not_exist_is_said_plainly(
    config: ProviderConfig, operator: NodeKey
) -> None:
    wrong = config.model_copy(update={"stages": ("paint",)})
    with pytest.raises(UserError, match="paint"):
        await run_provider(wrong, NodeKey.generate(), operator)


async def test_it_registers_advertises_tells_and_goes(
    config: ProviderConfig,
    operator: NodeKey,
    w3: Web3Client,
    deployment: Deployment,
    neighbour: tuple[P2PHost, asyncio.Queue[market_pb2.CapacityAd]],
) -> None:
    host, heard = neighbour
    key = NodeKey.generate()
    config = config.model_copy(update={"bootstrap": tuple(host.addrs)})
    running = asyncio.create_task(run_provider(config, key, operator))
    hearing = asyncio.create_task(heard.get())
    await asyncio.wait({running, hearing}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    ad = hearing.result()
    assert ad.accepting
    assert [rate.stage for rate in ad.rates] == ["assemble"]
    assert await ProvidersClient(w3, deployment.providers).is_active(key.address)
    told = json.loads(config.node_file.read_text())
    assert told["address"] == key.address
    status = json.loads((config.home / "status.json").read_text())
    assert (status["earned_wei"], status["warning"]) == ("0", "")

    with pytest.raises(HomeInUse):
        await run_provider(config, key)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not config.node_file.exists()
    assert not (await heard.get()).accepting

    # registered now, so that it needs no operator: then it must pay for claims by itself
    running = asyncio.create_task(run_provider(config, key))
    ad = await heard.get()
    while not ad.accepting:
        ad = await heard.get()
    status = json.loads((config.home / "status.json").read_text())
    assert key.address in status["warning"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_cannot_pay_for_a_claim_is_told_what_it_takes(
    operator: NodeKey, w3: Web3Client
) -> None:
    assert await claim_gas_warning(Sender(w3, operator)) == ""
    poor = NodeKey.generate()
    warning = await claim_gas_warning(Sender(w3, poor))
    assert poor.address in warning
    assert "send it some" in warning
    assert "\n" not in warning
