"""The typed client of an ERC-20 token; `mint` works on the test token alone."""

from __future__ import annotations

from typing import ClassVar

from eth_utils.address import to_checksum_address

from reelmesh.contracts.chain import TxResult
from reelmesh.contracts.client import Client


class TokenClient(Client):
    """ERC-20 (EIP-20). Amounts are in the token's smallest unit."""

    NAME: ClassVar[str] = "TestToken"

    async def mint(self, to: str, amount: int) -> TxResult:
        """Make new test tokens."""
        return await self._send("mint", to, amount)

    async def approve(self, spender: str, amount: int) -> TxResult:
        """Let `spender` take up to `amount` of the sender's tokens."""
        return await self._send("approve", spender, amount)

    async def transfer(self, to: str, amount: int) -> TxResult:
        """Send tokens."""
        return await self._send("transfer", to, amount)

    async def balance_of(self, account: str) -> int:
        """An account's tokens."""
        return int(await self._read("balanceOf", to_checksum_address(account)))
