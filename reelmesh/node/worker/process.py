"""One worker process, seen from the node: started, spoken to, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from pathlib import Path

import psutil

import reelmesh

from . import wire
from .errors import WorkerStartFailed

_log = logging.getLogger(__name__)

START_LIMIT_S = 180.0
_STDERR_LINES = 20
_LINE = 500
# What the process may see of the node's environment: nothing else is passed on.
_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES",
)  # fmt: skip


class WorkerProcess:
    """A running process. `receive` gives its messages in order, then None for ever."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._killed = False
        self._messages: asyncio.Queue[wire.Message | None] = asyncio.Queue()
        self._errors: deque[str] = deque(maxlen=_STDERR_LINES)
        self._readers = [
            asyncio.create_task(self._read_messages(), name="worker-messages"),
            asyncio.create_task(self._read_errors(), name="worker-stderr"),
        ]

    @classmethod
    async def spawn(
        cls,
        scratch: Path,
        device: str,
        threads: int,
        nice: int,
        memory_limit_mb: int | None,
        models: Path | None = None,
    ) -> WorkerProcess:
        """Starts a process with a fresh interpreter; it still has to say that it is ready."""
        command = [
            sys.executable, "-m", "reelmesh.node.worker.main",
            f"--parent={os.getpid()}", f"--device={device}", f"--threads={threads}",
            f"--nice={nice}", f"--memory-limit-mb={memory_limit_mb or 0}",
            f"--models={models.resolve() if models is not None else ''}",
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=scratch,
            env=_environment(threads),
            limit=1 << 16,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once the process has ended, or was told to."""
        return self._process.returncode is None and not self._killed

    async def send(self, message: wire.Message) -> None:
        """Sends a message; one that can no longer be delivered shows as None in `receive`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(wire.pack(message))
            await self._process.stdin.drain()
        except ConnectionError:
            pass

    async def receive(self) -> wire.Message | None:
        """The next message, or None where there will be none any more."""
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)
        return message

    async def ready(self) -> wire.Message:
        """Waits for the process to be up. Raises WorkerStartFailed."""
        try:
            async with asyncio.timeout(START_LIMIT_S):
                message = await self.receive()
        except TimeoutError:
            message = {"message": f"it was not ready within {START_LIMIT_S:.0f} s"}
        if message is None or message.get("type") != "ready":
            why = (message or {}).get("message") or await self.last_words()
            raise WorkerStartFailed(f"the worker process did not start: {why}", "run: make setup")
        return message

    def memory_mb(self) -> int:
        """Resident memory now, in MiB; 0 where the process has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss) >> 20
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """Ends the process at once."""
        self._killed = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self, patience_s: float = 0.0) -> None:
        """Ends the process, after `patience_s` in which it may end itself, and its readers."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()
            await self._process.wait()
            await asyncio.gather(*self._readers, return_exceptions=True)

    async def last_words(self) -> str:
        """How the process ended, for a person: the signal or exit code, and its last line."""
        code = await self._process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)
        how = f"exit code {code}"
        if code < 0:
            how = f"signal {-code} ({signal.Signals(-code).name})"
        said = next((line for line in reversed(self._errors) if line.strip()), "")
        return f"{how}: {said[:200]}" if said else how

    async def _read_messages(self) -> None:
        assert self._process.stdout is not None
        try:
            while (message := await wire.read(self._process.stdout)) is not None:
                self._messages.put_nowait(message)
        except wire.BadMessage as error:
            _log.error("worker %d spoke nonsense and is ended: %s", self.pid, error)
            self.kill()
        finally:
            self._messages.put_nowait(None)

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(1 << 14):
            for line in chunk.decode(errors="replace").splitlines():
                self._errors.append(line[:_LINE])
                _log.debug("worker %d: %s", self.pid, line[:_LINE])


def _environment(threads: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    root = str(Path(reelmesh.__file__).resolve().parent.parent)
    return kept | {
        "PYTHONPATH": root,
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
