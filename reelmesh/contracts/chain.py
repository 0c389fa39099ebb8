"""Talking to an EVM chain: connect with checks, sign and send with serialised nonces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.contract.async_contract import AsyncContract
from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.types import TxParams, TxReceipt

from reelmesh.contracts import artifacts_file
from reelmesh.contracts.eip712 import SigningKey
from reelmesh.contracts.errors import (
    BadRpcUrl,
    ChainUnreachable,
    InsufficientFunds,
    NonceTaken,
    NotDeployed,
    RpcRefused,
    TxReverted,
    TxTimeout,
    WrongChain,
)
from reelmesh.errors import ChainError

REQUEST_TIMEOUT_S: Final = 20.0
RECEIPT_TIMEOUT_S: Final = 180.0
_GAS_MARGIN: Final = 1.2
# What web3 and its HTTP client raise when an endpoint is away, cut off, or talks no JSON-RPC.
_NO_ANSWER: Final = (OSError, TimeoutError, aiohttp.ClientError, Web3Exception, ValueError)
_POLL_S: Final = (0.02, 1.0)

LOCAL_CHAINS: Final = frozenset({1337, 31337})
"""Chain ids of chains that run on this machine: nothing is ever reorganised there."""

Web3Client = AsyncWeb3[AsyncHTTPProvider]


def confirmations_for(chain_id: int) -> int:
    """Blocks, its own included, after which a transaction counts."""
    return 1 if chain_id in LOCAL_CHAINS else 3


@asynccontextmanager
async def rpc_errors(call: str) -> AsyncIterator[None]:
    """Turn what web3 and its HTTP client raise in this block into our typed errors."""
    try:
        yield
    except ContractLogicError as error:
        raise TxReverted.from_data(call, error.data, error.message or "") from error
    except Web3RPCError as error:
        raise _rpc_refusal(call, error) from error
    except BadFunctionCallOutput as error:
        raise NotDeployed(
            f"the address that should answer {call} holds no such contract",
            "use the deployment file of this chain",
        ) from error
    except _NO_ANSWER as error:
        raise ChainUnreachable(
            f"the chain did not answer {call} ({type(error).__name__})",
            "check that the RPC endpoint is up and its URL is right",
        ) from error


def _rpc_refusal(call: str, error: Web3RPCError) -> ChainError:
    """What an error answered by the endpoint means for its reader."""
    answered: Any = (error.rpc_response or {}).get("error")
    details: dict[str, Any] = answered if isinstance(answered, dict) else {}
    told = str(details.get("message", error))[:200]
    if "insufficient funds" in told.lower():
        return InsufficientFunds(
            f"the account cannot pay for {call}", "send it coins for value and gas"
        )
    if "nonce too low" in told.lower() or "replacement transaction" in told.lower():
        return NonceTaken(
            f"another transaction of the account came before {call}",
            "let one program at a time send from an account, then try again",
        )
    if details.get("data") or "revert" in told.lower():
        return TxReverted.from_data(call, details.get("data"), told)
    return RpcRefused(
        f"the RPC endpoint refused {call}: {told}", "try again, or use another endpoint"
    )


async def connect(rpc_url: str, expected_chain_id: int | None = None) -> Web3Client:
    """A client for an http(s) RPC endpoint that answered with the expected chain id.

    Close it with `disconnect`. Raises BadRpcUrl, ChainUnreachable or WrongChain.
    """
    parts = urlsplit(rpc_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRpcUrl("an RPC URL looks like http://host:port", "check the --rpc option")
    provider = AsyncHTTPProvider(rpc_url, request_kwargs={"timeout": REQUEST_TIMEOUT_S})
    w3: Web3Client = AsyncWeb3(provider)
    try:
        async with rpc_errors("eth_chainId"):
            chain_id = await w3.eth.chain_id
        if expected_chain_id not in (None, chain_id):
            raise WrongChain(
                f"{parts.hostname} serves chain {chain_id}, expected {expected_chain_id}",
                "use an RPC endpoint of the chain that the contracts are deployed on",
            )
    except BaseException:
        await disconnect(w3)
        raise
    return w3


async def disconnect(w3: Web3Client) -> None:
    """Close the client's HTTP sessions."""
    await w3.provider.disconnect()


def contract(w3: Web3Client, name: str, address: str) -> AsyncContract:
    """One of our contracts at `address`."""
    abi = artifacts_file.load(name).abi
    return w3.eth.contract(address=to_checksum_address(address), abi=abi)


async def require_code(w3: Web3Client, name: str, address: str) -> None:
    """Raises NotDeployed unless there is code at `address`."""
    async with rpc_errors("eth_getCode"):
        code = await w3.eth.get_code(to_checksum_address(address))
    if not code:
        raise NotDeployed(
            f"there is no {name} contract at {address}",
            "deploy the contracts, or use the deployment file of this chain",
        )


@dataclass(frozen=True)
class TxResult:
    """A mined transaction. gas_used in gas, fee_wei what it cost, events the raw logs."""

    tx_hash: str
    gas_used: int
    block: int
    status: int
    fee_wei: int
    contract: str | None = None
    events: tuple[Any, ...] = field(default=(), repr=False)


class Sender:
    """Signs and sends one account's transactions, one nonce after another.

    Args:
        w3: From `connect`.
        key: The account's key; it never leaves this process.
        confirmations: Blocks, its own included, that a receipt must have before it counts.
        timeout_s: How long to wait for a receipt.
    """

    def __init__(
        self,
        w3: Web3Client,
        key: SigningKey,
        *,
        confirmations: int = 1,
        timeout_s: float = RECEIPT_TIMEOUT_S,
    ) -> None:
        self.w3 = w3
        self.key = key
        self.confirmations = confirmations
        self.timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._chain_id: int | None = None
        self._next_nonce = 0
        self._sent_at = 0.0

    @property
    def address(self) -> str:
        """The sending account."""
        return self.key.address

    async def balance(self) -> int:
        """The account's native coins, in wei."""
        async with rpc_errors("eth_getBalance"):
            return int(await self.w3.eth.get_balance(to_checksum_address(self.address)))

    async def send(self, call: str, to: str | None, data: bytes, value: int = 0) -> TxResult:
        """Send one transaction and wait for its receipt.

        Args:
            call: What it does, for messages: "post", "settle".
            to: The contract; None to create one from `data`.
            data: Calldata or creation code.
            value: wei sent along.

        Raises:
            TxReverted (with the decoded custom error), InsufficientFunds, TxTimeout,
            ChainUnreachable.
        """
        async with self._lock:
            tx_hash = await self._submit(call, to, data, value)
        receipt = await self._receipt(tx_hash)
        if receipt["status"] != 1:
            raise await self._why_reverted(call, to, data, value, receipt)
        created = receipt.get("contractAddress")
        return TxResult(
            tx_hash=tx_hash,
            gas_used=int(receipt["gasUsed"]),
            block=int(receipt["blockNumber"]),
            status=int(receipt["status"]),
            fee_wei=int(receipt["gasUsed"]) * int(receipt.get("effectiveGasPrice", 0)),
            contract=str(created) if created else None,
            events=tuple(receipt["logs"]),
        )

    async def _submit(self, call: str, to: str | None, data: bytes, value: int) -> str:
        async with rpc_errors(call):
            tx = await self._fill(to, data, value)
        affordable = await self.balance()
        needed = value + int(tx["gas"]) * int(tx["maxFeePerGas"])
        if affordable < needed:
            raise InsufficientFunds(
                f"{self.address} has {affordable} wei; {call} may need {needed}",
                "send it coins for value and gas",
            )
        async with rpc_errors(call):
            sent = await self.w3.eth.send_raw_transaction(HexBytes(self._sign(tx)))
        self._next_nonce, self._sent_at = int(tx["nonce"]) + 1, time.monotonic()
        return sent.to_0x_hex()

    async def _fill(self, to: str | None, data: bytes, value: int) -> dict[str, Any]:
        """Gas, fees and nonce for a transaction; a call that would revert raises here.

        It is tried in the pending block, whose time is now: on a chain without traffic the latest
        block is old, and what opens after a deadline would look closed in it for ever.
        """
        eth = self.w3.eth
        sender = to_checksum_address(self.address)
        params: dict[str, Any] = {"from": sender, "value": value, "data": HexBytes(data)}
        if to is not None:
            params["to"] = to_checksum_address(to)
        if self._chain_id is None:
            self._chain_id = await eth.chain_id
        gas, latest, tip, pending = await asyncio.gather(
            eth.estimate_gas(cast("TxParams", params), "pending"),
            eth.get_block("latest"),
            eth.max_priority_fee,
            eth.get_transaction_count(sender, "pending"),
        )
        # Right after a send, a lagging endpoint may not yet count it.
        fresh = time.monotonic() - self._sent_at < self.timeout_s
        return {
            **{name: params[name] for name in ("to", "value", "data") if name in params},
            "type": 2,
            "chainId": self._chain_id,
            "nonce": max(int(pending), self._next_nonce if fresh else 0),
            "gas": int(gas * _GAS_MARGIN),
            "maxFeePerGas": 2 * int(latest.get("baseFeePerGas", 0)) + int(tip),
            "maxPriorityFeePerGas": int(tip),
        }

    def _sign(self, tx: dict[str, Any]) -> bytes:
        """The signed EIP-1559 transaction, ready to send."""
        signature = self.key.sign_digest(TypedTransaction.from_dict(dict(tx)).hash())
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        signed = {**tx, "v": signature[64] - 27, "r": r, "s": s}
        return TypedTransaction.from_dict(signed).encode()

    async def _receipt(self, tx_hash: str) -> TxReceipt:
        """The receipt once it has its confirmations; follows it through reorganisations."""
        end = time.monotonic() + self.timeout_s
        wait = _POLL_S[0]
        while True:
            try:
                receipt = await self.w3.eth.get_transaction_receipt(HexBytes(tx_hash))
                deep = self.confirmations <= 1 or (
                    await self.w3.eth.block_number - receipt["blockNumber"] + 1
                    >= self.confirmations
                )
                if deep:
                    return receipt
            except (TransactionNotFound, BlockNotFound):
                pass
            except _NO_ANSWER:
                pass  # the endpoint may come back before the time is over
            if time.monotonic() >= end:
                raise TxTimeout(tx_hash, self.timeout_s)
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, _POLL_S[1])

    async def _why_reverted(
        self, call: str, to: str | None, data: bytes, value: int, receipt: TxReceipt
    ) -> TxReverted:
        """Ask the chain for the reason by calling again where it failed."""
        tx_hash = receipt["transactionHash"].to_0x_hex()
        params: dict[str, Any] = {"from": self.address, "value": value, "data": HexBytes(data)}
        if to is not None:
            params["to"] = to_checksum_address(to)
        try:
            async with rpc_errors(call):
                await self.w3.eth.call(cast("TxParams", params), receipt["blockNumber"])
        except TxReverted as error:
            return TxReverted(call, error.error, error.arguments, tx_hash)
        except ChainUnreachable:
            pass
        return TxReverted(call, "", ("it passed its dry run, then failed on chain",), tx_hash)
