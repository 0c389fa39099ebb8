"""What the commands ask of the chain, and the networks that they know by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reelmesh.errors import UserError


class UnknownNetwork(UserError):
    """A network's name that is not in the table."""


@dataclass(frozen=True)
class Network:
    """A chain that contracts are deployed to.

    Attributes:
        rpc_url: A public endpoint without any key, or "" where the operator brings its own.
        unbonding_s: How long a provider's stake stays after it leaves.
        min_stake: Wei.
    """

    name: str
    chain_id: int
    rpc_url: str
    unbonding_s: int
    min_stake: int


NETWORKS = {
    network.name: network
    for network in (
        Network("local", 31337, "http://127.0.0.1:8545", 60, 10**16),
        Network("sepolia", 11155111, "", 7 * 24 * 3600, 10**16),
        Network("base-sepolia", 84532, "https://sepolia.base.org", 7 * 24 * 3600, 10**16),
    )
}


def network(name: str) -> Network:
    """Return a network by name. Raises UnknownNetwork."""
    try:
        return NETWORKS[name]
    except KeyError:
        known = ", ".join(NETWORKS)
        raise UnknownNetwork(f"no network is called {name!r}", f"known are: {known}") from None


async def balances(rpc_url: str, address: str, deployment: Path | None) -> dict[str, int]:
    """Return what an address holds, in wei: in its account, and as credit in the Market."""
    from eth_utils.address import to_checksum_address

    from reelmesh.contracts.chain import connect, disconnect, rpc_errors
    from reelmesh.contracts.deploy import Deployment
    from reelmesh.contracts.market import MarketClient

    known = Deployment.load(deployment) if deployment else None
    w3 = await connect(rpc_url, known.chain_id if known else None)
    try:
        async with rpc_errors("eth_getBalance"):
            held = {"balance": int(await w3.eth.get_balance(to_checksum_address(address)))}
        if known:
            held["credit"] = await MarketClient(w3, known.market).credit_of(address)
        return held
    finally:
        await disconnect(w3)
