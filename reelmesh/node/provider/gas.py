"""Whether this node could claim its pay by itself, should a coordinator vanish."""

from __future__ import annotations

from reelmesh.contracts.chain import Sender, rpc_errors
from reelmesh.scheduler.ids import Wei, ether

_CLAIM_GAS = 150_000
"""A first claim takes 90,000; its sender must hold a fifth more, and proofs grow with a market."""
_PRICE_FACTOR = 2
"""Prices move between now and the claim."""


async def claim_gas_warning(sender: Sender) -> str:
    """One plain line when the account that pays for claims cannot pay for one, else "".

    Raises ChainError.
    """
    balance = await sender.balance()
    async with rpc_errors("eth_gasPrice"):
        price = int(await sender.w3.eth.gas_price)
    needed = _CLAIM_GAS * _PRICE_FACTOR * price
    if balance >= needed:
        return ""
    return (
        f"{sender.address} has {ether(Wei(balance))} ether; a claim takes about "
        f"{ether(Wei(needed))} in gas: send it some, or pay is lost where a coordinator vanishes"
    )
