"""The typed client of the register of providers and their stakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eth_utils.address import to_checksum_address

from reelmesh.contracts import chain, eip712
from reelmesh.contracts.chain import TxResult
from reelmesh.contracts.client import Client
from reelmesh.contracts.eip712 import Domain, NodeBinding, SigningKey
from reelmesh.contracts.terms import NATIVE


@dataclass(frozen=True)
class Registration:
    """What an operator registered. unbonds_at: Unix seconds, None while it stays."""

    node: str
    stake: int
    unbonds_at: int | None


class ProvidersClient(Client):
    """One method for each of the contract's functions; see contracts/src/interfaces/IProviders.sol.

    The sender's key is the operator's; node keys only sign their agreement.
    """

    NAME: ClassVar[str] = "Providers"

    async def register(self, node_key: SigningKey, stake: int) -> TxResult:
        """Register the sender as operator of a node, with `stake` wei."""
        signature = await self._binding(node_key)
        return await self._send("register", node_key.address, *signature, value=stake)

    async def top_up(self, amount: int) -> TxResult:
        """Add `amount` wei to the sender's stake."""
        return await self._send("topUp", value=amount)

    async def rotate_node(self, new_node_key: SigningKey) -> TxResult:
        """Replace the sender's node key."""
        signature = await self._binding(new_node_key)
        return await self._send("rotateNode", new_node_key.address, *signature)

    async def begin_unbonding(self) -> TxResult:
        """Stop the sender's provider; its stake may leave after the unbonding delay."""
        return await self._send("beginUnbonding")

    async def withdraw_stake(self, to: str) -> TxResult:
        """After the delay: pay the whole stake to `to`."""
        return await self._send("withdrawStake", to)

    async def is_active(self, node: str) -> bool:
        """Whether a node is registered, staked and not leaving."""
        return bool(await self._read("isActive", to_checksum_address(node)))

    async def stake_of(self, node: str) -> int:
        """The stake behind a node, wei."""
        return int(await self._read("stakeOf", to_checksum_address(node)))

    async def operator_of(self, node: str) -> str | None:
        """The operator of a node."""
        operator = str(await self._read("operatorOf", to_checksum_address(node)))
        return None if operator == NATIVE else operator

    async def provider_of(self, operator: str) -> Registration | None:
        """What an operator registered."""
        found = await self._read("providerOf", to_checksum_address(operator))
        node, stake, unbonds_at = str(found[0]), int(found[1]), int(found[2])
        return None if node == NATIVE else Registration(node, stake, unbonds_at or None)

    async def min_stake(self) -> int:
        """The least stake, wei."""
        return int(await self._read("MIN_STAKE"))

    async def unbonding_delay(self) -> int:
        """Seconds between leaving and taking the stake."""
        return int(await self._read("UNBONDING_DELAY"))

    async def _binding(self, node_key: SigningKey) -> tuple[bytes, bytes]:
        """The node key's word for the sender, as the contract takes it."""
        nonce = int(await self._read("bindingNonceOf", node_key.address))
        async with chain.rpc_errors("eth_chainId"):
            domain = Domain(await self.w3.eth.chain_id, self.address)
        binding = NodeBinding(self.sender.address, nonce)
        return eip712.compact_form(eip712.sign(domain, binding, node_key))
