"""What every contract's client shares: reading, sending and reading logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from eth_utils.abi import event_abi_to_log_topic
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from reelmesh.contracts import artifacts_file, chain
from reelmesh.contracts.chain import Sender, TxResult, Web3Client
from reelmesh.contracts.errors import RpcRefused
from reelmesh.errors import UserError

# An endpoint that refuses so few blocks refuses for another reason.
LEAST_LOG_RANGE: Final = 500


class ReadOnly(UserError):
    """A transaction was asked of a client that has no key."""


class Client:
    """A typed client of one contract.

    Args:
        w3: From `chain.connect`.
        address: Where the contract is.
        sender: Who signs transactions; None for a client that only reads.
    """

    NAME: ClassVar[str]

    def __init__(self, w3: Web3Client, address: str, sender: Sender | None = None) -> None:
        self.w3 = w3
        self.address = str(to_checksum_address(address))
        self._sender = sender
        self._contract = chain.contract(w3, self.NAME, address)
        self._topics = {
            bytes(event_abi_to_log_topic(item)): item["name"]  # type: ignore[arg-type]
            for item in artifacts_file.load(self.NAME).abi
            if item["type"] == "event"
        }

    @property
    def sender(self) -> Sender:
        """Who signs. Raises ReadOnly where nobody does."""
        if self._sender is None:
            raise ReadOnly(f"this {self.NAME} client has no key to sign with", "unlock an account")
        return self._sender

    async def _read(self, function: str, *args: Any, block: int | None = None) -> Any:
        call = self._contract.functions[function](*args)
        async with chain.rpc_errors(f"{self.NAME}.{function}"):
            return await call.call(block_identifier="latest" if block is None else block)

    async def _send(self, function: str, *args: Any, value: int = 0) -> TxResult:
        data = self._contract.encode_abi(function, args=list(args))
        return await self.sender.send(function, self.address, bytes(HexBytes(data)), value)

    async def _logs(
        self, from_block: int, to_block: int, topics: Sequence[Any] = ()
    ) -> list[dict[str, Any]]:
        """This contract's decoded logs of both blocks and all between, in order."""
        spans = [(from_block, to_block)] if from_block <= to_block else []
        found: list[dict[str, Any]] = []
        while spans:
            start, stop = spans.pop()
            try:
                async with chain.rpc_errors("eth_getLogs"):
                    logs = await self.w3.eth.get_logs(
                        {
                            "address": to_checksum_address(self.address),
                            "fromBlock": start,
                            "toBlock": stop,
                            "topics": list(topics),
                        }
                    )
            except RpcRefused:
                # Public endpoints bound a range or its results, each in its own way: halve it.
                if stop - start < LEAST_LOG_RANGE:
                    raise
                middle = (start + stop) // 2
                spans += [(middle + 1, stop), (start, middle)]
                continue
            found += [self._decode(log) for log in logs if bytes(log["topics"][0]) in self._topics]
        return found

    def _decode(self, log: Any) -> dict[str, Any]:
        name = self._topics[bytes(log["topics"][0])]
        return dict(self._contract.events[name]().process_log(log))
