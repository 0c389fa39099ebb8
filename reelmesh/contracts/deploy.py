"""Deploying the contracts, and the file that tells where they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from eth_abi import encode as abi_encode  # type: ignore[attr-defined]
from eth_utils.address import is_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from reelmesh.contracts import artifacts_file, chain
from reelmesh.contracts.chain import Sender, Web3Client
from reelmesh.contracts.errors import WrongChain
from reelmesh.contracts.terms import NATIVE
from reelmesh.errors import StorageError


class BadDeploymentFile(StorageError):
    """The deployment file is missing or is not one."""


def _checksummed(value: str) -> str:
    if not is_checksum_address(value):
        raise ValueError("not a checksummed address")
    return value


Address = Annotated[str, AfterValidator(_checksummed)]


@dataclass(frozen=True)
class DeployTx:
    """One transaction of a deployment: what it made, and what that cost in gas."""

    what: str
    tx_hash: str
    gas_used: int


class Deployment(BaseModel):
    """Where the contracts are on one chain. block is the first that may hold their events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain_id: int = Field(gt=0)
    market: Address
    providers: Address
    token: Address | None
    block: int = Field(ge=0)
    txs: tuple[DeployTx, ...] = ()

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(self.model_dump_json(indent=2) + "\n")
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read the file. Raises BadDeploymentFile."""
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except FileNotFoundError as error:
            raise BadDeploymentFile(
                f"there is no deployment file {path}",
                "deploy with `reelmesh contracts deploy`, or ask your market's operator for it",
            ) from error
        except (OSError, ValueError, ValidationError) as error:
            raise BadDeploymentFile(
                f"{path} is not a deployment file", "move it away and fetch or make it again"
            ) from error

    async def check(self, w3: Web3Client) -> None:
        """Raises WrongChain or NotDeployed unless this chain has these contracts."""
        async with chain.rpc_errors("eth_chainId"):
            chain_id = await w3.eth.chain_id
        if chain_id != self.chain_id:
            raise WrongChain(
                f"the deployment is on chain {self.chain_id}, the RPC endpoint serves {chain_id}",
                "use an RPC endpoint of the deployment's chain",
            )
        await chain.require_code(w3, "Market", self.market)
        await chain.require_code(w3, "Providers", self.providers)
        if self.token is not None:
            await chain.require_code(w3, "token", self.token)


async def deploy(
    sender: Sender,
    *,
    min_stake: int,
    unbonding_delay: int,
    with_test_token: bool = False,
    token: str | None = None,
) -> Deployment:
    """Deploy the contracts.

    Args:
        sender: Who pays; it gets no rights over them.
        min_stake: Least stake of a provider, wei.
        unbonding_delay: Seconds before a leaving provider gets its stake.
        with_test_token: Deploy a token that anyone may mint, and let the market take it.
        token: An ERC-20 that the market takes instead. Neither: the native coin alone.

    Raises:
        InsufficientFunds, TxReverted, TxTimeout, NotDeployed (no code at `token`).
    """
    if with_test_token and token is not None:
        raise ValueError("give a token or ask for the test token, not both")
    if token is not None:
        await chain.require_code(sender.w3, "token", token)
    txs: list[DeployTx] = []
    first: int | None = None

    async def create(name: str, kinds: list[str], values: list[Any]) -> str:
        nonlocal first
        code = bytes.fromhex(artifacts_file.load(name).bytecode.removeprefix("0x"))
        arguments = abi_encode(kinds, values)
        result = await sender.send(f"the deployment of {name}", None, code + arguments)
        assert result.contract is not None
        txs.append(DeployTx(name, result.tx_hash, result.gas_used))
        first = result.block if first is None else first
        return result.contract

    if with_test_token:
        token = await create("TestToken", [], [])
    market = await create("Market", ["address"], [token or NATIVE])
    providers = await create("Providers", ["uint256", "uint256"], [min_stake, unbonding_delay])
    assert first is not None
    async with chain.rpc_errors("eth_chainId"):
        chain_id = await sender.w3.eth.chain_id
    return Deployment(
        chain_id=chain_id,
        market=market,
        providers=providers,
        token=token,
        block=first,
        txs=tuple(txs),
    )
