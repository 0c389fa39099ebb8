"""Connecting, sending and deploying: what goes wrong is told in one line with a next step."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fixtures_chain import FundedKey
from hexbytes import HexBytes
from web3.exceptions import Web3RPCError

from reelmesh.contracts import chain, client, events
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender, Web3Client
from reelmesh.contracts.client import ReadOnly
from reelmesh.contracts.deploy import BadDeploymentFile, Deployment, deploy
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
from reelmesh.contracts.keys import LocalKey
from reelmesh.contracts.market import MarketClient


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://localhost:1", "file:///etc/passwd"])
async def test_unusable_urls(url: str) -> None:
    with pytest.raises(BadRpcUrl) as caught:
        await chain.connect(url)
    assert caught.value.hint


async def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(ChainUnreachable) as caught:
            await chain.connect(f"http://127.0.0.1:{port}")
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("status", "body"), [(200, "<html>"), (502, "bad gateway"), (200, "{}")])
async def test_something_else_answers(status: int, body: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        with pytest.raises(ChainUnreachable):
            await chain.connect(f"http://127.0.0.1:{port}")
    finally:
        await runner.cleanup()


async def test_another_chain_is_refused(anvil: Anvil) -> None:
    with pytest.raises(WrongChain, match="expected 1"):
        await chain.connect(anvil.rpc_url, 1)


async def test_no_contract_at_the_address(w3: Web3Client, deployment: Deployment) -> None:
    nowhere = LocalKey.generate().address
    with pytest.raises(NotDeployed):
        await chain.require_code(w3, "Market", nowhere)
    with pytest.raises(NotDeployed):
        await MarketClient(w3, nowhere).credit_of(nowhere)
    await deployment.check(w3)
    with pytest.raises(NotDeployed):
        await deployment.model_copy(update={"market": nowhere}).check(w3)
    with pytest.raises(WrongChain):
        await deployment.model_copy(update={"chain_id": 5}).check(w3)


async def test_a_client_without_a_key_only_reads(w3: Web3Client, deployment: Deployment) -> None:
    market = MarketClient(w3, deployment.market)
    assert await market.credit_of(LocalKey.generate().address) == 0
    with pytest.raises(ReadOnly):
        await market.deposit(1)


async def test_an_empty_account_is_told_what_it_lacks(
    w3: Web3Client, deployment: Deployment
) -> None:
    market = MarketClient(w3, deployment.market, Sender(w3, LocalKey.generate()))
    with pytest.raises(InsufficientFunds) as caught:
        await market.deposit(10**18)
    assert caught.value.hint


async def test_an_account_that_cannot_pay_the_gas(
    anvil: Anvil, w3: Web3Client, deployment: Deployment
) -> None:
    key = LocalKey.generate()
    await w3.provider.make_request("anvil_setBalance", [key.address, hex(1000)])  # type: ignore[arg-type]
    with pytest.raises(InsufficientFunds):
        await MarketClient(w3, deployment.market, Sender(w3, key)).deposit(1000)


async def test_many_transactions_at_once_each_get_a_nonce(
    w3: Web3Client, deployment: Deployment, funded_key: FundedKey
) -> None:
    key = await funded_key()
    market = MarketClient(w3, deployment.market, Sender(w3, key))
    results = await asyncio.gather(*(market.deposit(i + 1) for i in range(20)))
    assert len({result.tx_hash for result in results}) == 20
    assert await market.credit_of(key.address) == 210
    amounts = [event.amount for r in results for event in market.events_of(r)]  # type: ignore[attr-defined]
    assert sorted(amounts) == list(range(1, 21))


async def test_a_revert_carries_its_custom_error(
    w3: Web3Client, deployment: Deployment, funded_key: FundedKey
) -> None:
    key = await funded_key()
    market = MarketClient(w3, deployment.market, Sender(w3, key))
    with pytest.raises(TxReverted) as caught:
        await market.post(bytes(32), 1, 1, 1, key.address)
    assert (caught.value.error, caught.value.arguments) == ("BadDeadline", (1,))
    assert caught.value.tx_hash == ""
    # It cost nothing, not even a nonce.
    assert await w3.eth.get_transaction_count(key.address) == 0  # type: ignore[arg-type]


async def test_two_senders_of_one_account_are_told(
    w3: Web3Client, deployment: Deployment, funded_key: FundedKey
) -> None:
    key = await funded_key()
    raw = Sender(w3, key)._sign(await Sender(w3, key)._fill(LocalKey.generate().address, b"", 1))
    await Sender(w3, key).send("a payment", LocalKey.generate().address, b"", 1)
    with pytest.raises(NonceTaken) as caught:
        async with chain.rpc_errors("a payment"):
            await w3.eth.send_raw_transaction(HexBytes(raw))
    assert caught.value.hint


async def test_a_method_that_the_endpoint_lacks_is_no_revert(w3: Web3Client) -> None:
    with pytest.raises(RpcRefused):
        async with chain.rpc_errors("eth_nothing"):
            await w3.manager.coro_request("eth_nothing", [])  # type: ignore[arg-type]


async def test_a_range_of_logs_that_the_endpoint_refuses_is_halved(
    w3: Web3Client, deployment: Deployment, funded_key: FundedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await funded_key()
    market = MarketClient(w3, deployment.market, Sender(w3, key))
    mined = [(await market.deposit(i + 1)).block for i in range(3)]
    await w3.provider.make_request("anvil_mine", [hex(40)])  # type: ignore[arg-type]
    last = await market.deposit(4)
    wanted = await market.events(mined[0], last.block)
    monkeypatch.setattr(client, "LEAST_LOG_RANGE", 5)
    asked: list[int] = []
    real = w3.eth.get_logs

    async def limited(query: Any) -> Any:
        asked.append(query["toBlock"] - query["fromBlock"] + 1)
        if asked[-1] > 10:
            answer = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "range"}}
            raise Web3RPCError("range", rpc_response=answer)  # type: ignore[arg-type]
        return await real(query)

    monkeypatch.setattr(w3.eth, "get_logs", limited)
    told = await market.events(mined[0], last.block)
    assert told == wanted
    assert [event.amount for event in told] == [1, 2, 3, 4]  # type: ignore[attr-defined]
    assert len(asked) > 4


async def test_a_receipt_that_does_not_come(funded_key: FundedKey, tmp_path: Path) -> None:
    async with await Anvil().start(block_time=3600) as slow:
        w3 = await chain.connect(slow.rpc_url)
        try:
            sender = Sender(w3, await slow.funded_key(), timeout_s=0.3)
            with pytest.raises(TxTimeout) as caught:
                await sender.send("a payment", LocalKey.generate().address, b"", 1)
            assert caught.value.tx_hash.startswith("0x")
            assert "look it up" in caught.value.hint
        finally:
            await chain.disconnect(w3)


async def test_confirmations_are_waited_for(funded_key: FundedKey) -> None:
    async with await Anvil().start() as local:
        w3 = await chain.connect(local.rpc_url)
        try:
            sender = Sender(w3, await local.funded_key(), confirmations=3)
            sending = asyncio.create_task(
                sender.send("a payment", LocalKey.generate().address, b"", 1)
            )
            while await w3.eth.block_number < 1:
                await asyncio.sleep(0.01)
            assert not sending.done()
            await local.rpc("evm_mine")
            await local.rpc("evm_mine")
            assert (await sending).block == 1
            assert await w3.eth.block_number == 3
        finally:
            await chain.disconnect(w3)


async def test_deployment_file(tmp_path: Path, deployment: Deployment) -> None:
    path = tmp_path / "a" / "deployment.json"
    deployment.save(path)
    assert Deployment.load(path) == deployment
    with pytest.raises(BadDeploymentFile):
        Deployment.load(tmp_path / "none.json")
    for text in ("", "{}", "[1]", path.read_text().replace(deployment.market, "0x12")):
        path.write_text(text)
        with pytest.raises(BadDeploymentFile):
            Deployment.load(path)


async def test_deploying_for_an_existing_token(
    w3: Web3Client, deployment: Deployment, funded_key: FundedKey
) -> None:
    sender = Sender(w3, await funded_key())
    made = await deploy(sender, min_stake=1, unbonding_delay=0, token=deployment.token)
    assert await MarketClient(w3, made.market).token() == deployment.token
    plain = await deploy(sender, min_stake=1, unbonding_delay=0)
    assert await MarketClient(w3, plain.market).token() is None
    with pytest.raises(NotDeployed):
        await deploy(sender, min_stake=1, unbonding_delay=0, token=LocalKey.generate().address)
    # Events are looked for from the deployment's block on, and one post is all that is there.
    market = MarketClient(w3, plain.market, sender)
    deadline = int((await w3.eth.get_block("latest"))["timestamp"]) + 600
    await market.post(bytes(32), 5, deadline, 60, sender.address, value=5)
    told = await market.events(plain.block, await w3.eth.block_number)
    assert [type(event) for event in told] == [events.Deposited, events.JobPosted]
