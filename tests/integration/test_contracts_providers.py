"""The register of providers through its Python client."""

from __future__ import annotations

import pytest
from fixtures_chain import MIN_STAKE, UNBONDING_DELAY_S, FundedKey

from reelmesh.contracts.chain import Sender, Web3Client
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.errors import TxReverted
from reelmesh.contracts.keys import LocalKey
from reelmesh.contracts.providers import ProvidersClient


@pytest.fixture
async def register(
    w3: Web3Client, deployment: Deployment, funded_key: FundedKey
) -> ProvidersClient:
    return ProvidersClient(w3, deployment.providers, Sender(w3, await funded_key()))


async def test_register_rotate_and_leave(register: ProvidersClient) -> None:
    node, spare = LocalKey.generate(), LocalKey.generate()
    operator = register.sender.address
    assert not await register.is_active(node.address)
    assert await register.operator_of(node.address) is None
    assert await register.provider_of(operator) is None

    await register.register(node, 2 * MIN_STAKE)
    await register.top_up(5)
    assert await register.is_active(node.address)
    assert await register.operator_of(node.address) == operator
    assert await register.stake_of(node.address) == 2 * MIN_STAKE + 5

    await register.rotate_node(spare)
    assert not await register.is_active(node.address)
    assert await register.is_active(spare.address)

    await register.begin_unbonding()
    assert not await register.is_active(spare.address)
    found = await register.provider_of(operator)
    assert found is not None
    assert found.unbonds_at is not None
    with pytest.raises(TxReverted) as caught:
        await register.withdraw_stake(operator)
    assert caught.value.error == "Unbonding"
    assert "delay" in caught.value.hint


async def test_the_register_tells_its_rules(register: ProvidersClient) -> None:
    assert await register.min_stake() == MIN_STAKE
    assert await register.unbonding_delay() == UNBONDING_DELAY_S


async def test_too_small_a_stake_is_refused_with_the_minimum(register: ProvidersClient) -> None:
    with pytest.raises(TxReverted) as caught:
        await register.register(LocalKey.generate(), MIN_STAKE - 1)
    assert (caught.value.error, caught.value.arguments) == (
        "StakeTooLow",
        (MIN_STAKE - 1, MIN_STAKE),
    )


async def test_a_node_cannot_be_registered_without_its_key(
    register: ProvidersClient, funded_key: FundedKey, w3: Web3Client
) -> None:
    """Someone else's signature over the same words binds nothing."""
    node = LocalKey.generate()

    class Impostor:
        address = node.address

        @staticmethod
        def sign_digest(digest: bytes) -> bytes:
            return LocalKey.generate().sign_digest(digest)

    with pytest.raises(TxReverted, match="BadBinding"):
        await register.register(Impostor(), MIN_STAKE)
    await register.register(node, MIN_STAKE)
    rival = ProvidersClient(w3, register.address, Sender(w3, await funded_key()))
    with pytest.raises(TxReverted, match="NodeTaken"):
        await rival.register(node, MIN_STAKE)
