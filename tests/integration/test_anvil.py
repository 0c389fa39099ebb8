"""The local chain: starts, keeps its state, survives damage, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from reelmesh.contracts import anvil as anvil_module
from reelmesh.contracts import chain
from reelmesh.contracts.anvil import (
    Anvil,
    AnvilFailed,
    AnvilMissing,
    CorruptChainState,
    PortInUse,
)
from reelmesh.contracts.keys import LocalKey


async def balance(local: Anvil, address: str) -> int:
    return int(await local.rpc("eth_getBalance", address, "latest"), 16)


async def test_it_starts_answers_and_stops() -> None:
    local = await Anvil().start()
    process = psutil.Process(local.pid)
    key = await local.funded_key(5)
    assert await balance(local, key.address) == 5
    await local.stop()
    assert not process.is_running()
    with pytest.raises(AnvilFailed):
        await local.rpc("eth_chainId")
    await local.stop()


async def test_it_has_none_of_the_public_test_accounts() -> None:
    async with await Anvil().start() as local:
        assert await local.rpc("eth_accounts") == []
        assert await balance(local, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266") == 0


async def test_its_state_survives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "chain" / "state.json"
    async with await Anvil().start(state) as local:
        key = await local.funded_key(7)
        await local.rpc("evm_mine")
    async with await Anvil().start(state) as local:
        assert await balance(local, key.address) == 7
        assert int(await local.rpc("eth_blockNumber"), 16) == 1
    assert state.with_name("state.json.previous").exists()


async def test_a_damaged_state_is_kept_aside_and_the_good_copy_used(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with await Anvil().start(state) as local:
        key = await local.funded_key(7)
        await local.rpc("evm_mine")
    async with await Anvil().start(state):
        pass
    damaged = state.read_bytes()[:100]
    state.write_bytes(damaged)
    async with await Anvil().start(state) as local:
        assert await balance(local, key.address) == 7
    (aside,) = tmp_path.glob("state.json.corrupt-*")
    assert aside.read_bytes() == damaged


async def test_a_damaged_state_without_a_copy_is_told_not_overwritten(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_bytes(b'{"half')
    with pytest.raises(CorruptChainState) as caught:
        await Anvil().start(state)
    (aside,) = tmp_path.glob("state.json.corrupt-*")
    assert aside.read_bytes() == b'{"half'
    assert str(aside) in caught.value.message
    assert caught.value.hint


async def test_a_port_in_use_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            await Anvil().start(port=port)


async def test_a_missing_binary_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REELMESH_ANVIL", str(tmp_path / "none"))
    with pytest.raises(AnvilMissing) as caught:
        await Anvil().start()
    assert caught.value.hint
    monkeypatch.delenv("REELMESH_ANVIL")
    monkeypatch.setattr(anvil_module, "_NODE_MODULES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AnvilMissing, match="not installed"):
        await Anvil().start()


async def test_a_binary_that_ends_at_once_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "anvil"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("REELMESH_ANVIL", str(broken))
    with pytest.raises(AnvilFailed, match="exit code 3"):
        await Anvil().start()


async def test_it_dies_with_its_parent() -> None:
    program = (
        "import asyncio\n"
        "from reelmesh.contracts.anvil import Anvil\n"
        "async def main():\n"
        "    local = await Anvil().start()\n"
        "    print(local.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, [child], 20)
    assert gone
    assert not alive


async def test_a_detached_one_outlives_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, pathlib\n"
        "from reelmesh.contracts.anvil import Anvil\n"
        "async def main():\n"
        "    log = pathlib.Path(sys.argv[1])\n"
        "    local = await Anvil().start(detached=True, log_file=log)\n"
        "    print(local.pid, local.rpc_url, flush=True)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "log"), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid, url = (await parent.stdout.readline()).decode().split()
    await parent.wait()
    try:
        w3 = await chain.connect(url)
        await chain.disconnect(w3)
        assert (tmp_path / "log").stat().st_size > 0
    finally:
        os.kill(int(pid), signal.SIGKILL)


async def test_time_passes_on_request() -> None:
    async with await Anvil().start() as local:
        w3 = await chain.connect(local.rpc_url)
        try:
            before = (await w3.eth.get_block("latest"))["timestamp"]
            await local.advance(1000)
            assert (await w3.eth.get_block("latest"))["timestamp"] >= before + 1000
        finally:
            await chain.disconnect(w3)


def test_a_funded_key_is_not_a_known_one() -> None:
    assert LocalKey.generate().address != LocalKey.generate().address
