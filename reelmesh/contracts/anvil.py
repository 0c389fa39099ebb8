"""A local chain: foundry's anvil as a child process that leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final, Self

from reelmesh.contracts import chain
from reelmesh.contracts.errors import ChainUnreachable
from reelmesh.contracts.keys import LocalKey
from reelmesh.errors import ChainError, StorageError, UserError

DEFAULT_CHAIN_ID: Final = 31337
_NODE_MODULES: Final = Path(__file__).resolve().parents[2] / "contracts" / "node_modules"
_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 10.0
_TRIES: Final = 3
# Runs in the child before anvil does: die with the parent (Linux's PR_SET_PDEATHSIG), and at once
# where the parent is already gone. Not a preexec_fn, which is unsafe beside other threads.
_TIED: Final = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != parent:
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class AnvilMissing(UserError):
    """The anvil binary is not installed."""


class AnvilFailed(ChainError):
    """anvil did not start, or ended by itself."""


class PortInUse(UserError):
    """Another program listens on the port asked for."""


class CorruptChainState(StorageError):
    """The saved chain cannot be read; it was kept aside."""


def find_anvil() -> Path:
    """The anvil binary: REELMESH_ANVIL, else contracts/node_modules, else PATH."""
    named = os.environ.get("REELMESH_ANVIL")
    if named:
        if os.access(named, os.X_OK):
            return Path(named)
        raise AnvilMissing(f"REELMESH_ANVIL names no program: {named}", "set it to anvil's path")
    for binary in sorted(_NODE_MODULES.glob("@foundry-rs/anvil-*/bin/anvil*")):
        if os.access(binary, os.X_OK):
            return binary
    on_path = shutil.which("anvil")
    if on_path:
        return Path(on_path)
    raise AnvilMissing(
        "anvil, the local chain, is not installed",
        "run `make setup`, or `npm ci --ignore-scripts` in contracts/",
    )


class Anvil:
    """One anvil process on 127.0.0.1, with no funded account until `funded_key` makes one.

    Blocks are mined when a transaction comes, or every `block_time` seconds. anvil never gives two
    blocks the same second: after many transactions at once, chain time runs ahead of the clock.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._w3: chain.Web3Client | None = None
        self.port = 0

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id. Raises AnvilFailed when it is not running."""
        return self._running().pid

    async def start(
        self,
        state_file: Path | None = None,
        port: int = 0,
        block_time: float | None = None,
        *,
        chain_id: int = DEFAULT_CHAIN_ID,
        detached: bool = False,
        log_file: Path | None = None,
    ) -> Self:
        """Start it and wait until it answers.

        Args:
            state_file: Where the chain is kept; written every 5 s and at `stop`. None: in memory.
            port: 0 takes a free one.
            block_time: Seconds between blocks; None mines at once.
            detached: Let it outlive this process.
            log_file: Where its output goes (appended); None drops it.

        Raises:
            AnvilMissing, AnvilFailed, PortInUse, CorruptChainState.
        """
        binary = find_anvil()
        if state_file is not None:
            await asyncio.to_thread(_prepare_state, state_file)
        options = ["--accounts", "0", "--chain-id", str(chain_id), "--host", "127.0.0.1"]
        options += ["--preserve-historical-states"]
        if log_file is None:
            options += ["--silent"]
        if state_file is not None:
            options += ["--state", str(state_file), "--state-interval", "5"]
        if block_time is not None:
            options += ["--block-time", str(block_time)]
        for attempt in range(_TRIES):
            self.port = _free_port(port)
            command = [str(binary), *options, "--port", str(self.port)]
            try:
                await self._launch(command, detached, log_file)
                return self
            except AnvilFailed:
                await self.stop()
                # A free port may have been taken meanwhile: only then is another try of any use.
                if port != 0 or attempt == _TRIES - 1:
                    raise
            except BaseException:
                await self.stop()
                raise
        raise AssertionError("unreachable")

    async def let_go(self) -> None:
        """Close the connection to it; a detached anvil runs on."""
        if self._w3 is not None:
            await chain.disconnect(self._w3)
            self._w3 = None

    async def stop(self) -> None:
        """End it, with its state written; harmless when it is not running."""
        await self.let_go()
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def rpc(self, method: str, *params: Any) -> Any:
        """One raw RPC call, for anvil's own methods. Raises AnvilFailed."""
        self._running()
        if self._w3 is None:
            self._w3 = await chain.connect(self.rpc_url)
        async with chain.rpc_errors(method):
            answer = await self._w3.provider.make_request(method, list(params))
        if "error" in answer:
            raise AnvilFailed(f"anvil refused {method}: {answer['error']}")
        return answer["result"]

    async def fund(self, address: str, amount: int) -> None:
        """Set an account's balance, in wei."""
        await self.rpc("anvil_setBalance", address, hex(amount))

    async def funded_key(self, amount: int = 10**21) -> LocalKey:
        """A fresh random key whose account has `amount` wei."""
        key = LocalKey.generate()
        await self.fund(key.address, amount)
        return key

    async def advance(self, seconds: int) -> None:
        """Let chain time pass and mine a block in it."""
        await self.rpc("evm_increaseTime", hex(seconds))
        await self.rpc("evm_mine")

    async def _launch(self, command: list[str], detached: bool, log_file: Path | None) -> None:
        if not detached:
            command = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command]
        output: Any = asyncio.subprocess.DEVNULL
        log = None
        if log_file is not None:
            log = output = log_file.open("ab")
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # In a session of its own, so that Ctrl-C reaches us alone and we end it in order.
                start_new_session=True,
            )
        finally:
            if log is not None:
                log.close()
        await self._answers()

    async def _answers(self) -> None:
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end:
            process = self._running()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                w3 = await chain.connect(self.rpc_url)
                await chain.disconnect(w3)
            except (OSError, ChainUnreachable):
                await asyncio.sleep(0.02)
                continue
            if process.returncode is None:
                return
        raise AnvilFailed(f"anvil does not answer after {_START_TIMEOUT_S:g} s")

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            code = None if self._process is None else self._process.returncode
            told = "is not running" if code is None else f"ended with exit code {code}"
            raise AnvilFailed(f"anvil {told}", "see its log file, then start it again")
        return self._process


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise PortInUse(f"port {wanted} is in use", "choose another, or 0 for any") from error
        return int(probe.getsockname()[1])


def _prepare_state(state_file: Path) -> None:
    """Keep a good copy of the saved chain; put a damaged one aside, and the good copy in place."""
    state_file.parent.mkdir(parents=True, exist_ok=True)
    previous = state_file.with_name(state_file.name + ".previous")
    if not state_file.exists():
        return
    if _readable(state_file):
        fresh = previous.with_name(previous.name + ".new")
        shutil.copyfile(state_file, fresh)
        fresh.replace(previous)
        return
    aside = state_file.with_name(f"{state_file.name}.corrupt-{time.time_ns() // 1_000_000}")
    state_file.rename(aside)
    if previous.exists() and _readable(previous):
        shutil.copyfile(previous, state_file)
        return
    raise CorruptChainState(
        f"the saved chain cannot be read; it was kept as {aside}",
        "start again for a new chain, or restore a backup of the file first",
    )


def _readable(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and "accounts" in content
