"""A worker: one device's process, kept running between runs so that models stay resident."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from reelmesh.node.stages import StageFailed

from .device import Device
from .errors import RunTimedOut, WorkerCrashed, WorkerOutOfMemory
from .process import WorkerProcess
from .wire import Message

_log = logging.getLogger(__name__)

# How long a cancelled run may take to stop by itself before its process is ended.
GRACE_S = 1.0
_WATCH_S = 0.1
_WHOLE_CALL = 600.0

OnProgress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One subtask's work. `params_json` is checked against the catalogue in the process."""

    stage: str
    stage_version: int
    params_json: str
    inputs: Mapping[str, Path]
    run_limit_s: float


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came out. The files lie in `workdir`, which the caller removes with `discard`."""

    outputs: dict[str, Path]
    trajectory: list[bytes]
    model_hash: bytes
    started_at_ms: int
    finished_at_ms: int
    peak_memory_mb: int
    workdir: Path

    def discard(self) -> None:
        """Removes the output files."""
        shutil.rmtree(self.workdir, ignore_errors=True)


class Worker:
    """Runs stages in a process of their own, one at a time.

    A crash or a lack of memory takes down the run, not the node: the next run starts a new
    process. Use as `async with Worker(…) as worker`, or `start` and `stop`.

    Args:
        device: a Device, or "auto", "cpu", "cuda", "cuda:<n>".
        threads: CPU threads that a stage may use.
        scratch: folder for outputs; made if missing, and leftovers in it are removed.
        memory_limit_mb: MiB the process may take on its device; None for no limit.
        nice: added to the process's niceness, so that a person's own work goes first.
        models: folder of production models; None: there are none.
    """

    def __init__(
        self,
        device: Device | str,
        threads: int,
        scratch: Path,
        memory_limit_mb: int | None = None,
        nice: int = 0,
        models: Path | None = None,
    ) -> None:
        self._wanted = device if isinstance(device, str) else device.torch_name
        self._threads = threads
        self._scratch = scratch.resolve()
        self._limit_mb = memory_limit_mb
        self._nice = nice
        self._models = models
        self._process: WorkerProcess | None = None
        self._device: Device | None = None if isinstance(device, str) else device
        self._devices: list[Device] = []
        self._resident: list[str] = []
        self._numbers = itertools.count(1)
        self._busy = asyncio.Lock()

    @property
    def device(self) -> Device:
        """The device in use; known once started."""
        if self._device is None:
            raise RuntimeError("start() was not awaited")
        return self._device

    @property
    def devices(self) -> list[Device]:
        """Every device that the process found on this machine; known once started."""
        return list(self._devices)

    @property
    def threads(self) -> int:
        """CPU threads that a stage may use."""
        return self._threads

    @property
    def resident(self) -> list[str]:
        """Stages whose model is loaded now."""
        return list(self._resident)

    @property
    def pid(self) -> int | None:
        """The process's id, or None where none runs."""
        return self._process.pid if self._process is not None and self._process.alive else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts the process and waits until it is ready. Raises WorkerStartFailed."""
        _empty(self._scratch)
        async with self._busy:
            await self._ready()

    async def stop(self) -> None:
        """Ends the process; a run in hand ends with WorkerCrashed."""
        process, self._process = self._process, None
        if process is not None:
            await process.close()
        self._resident = []

    async def load(self, stage: str) -> str:
        """Makes a stage's model resident; returns its hash in hex. Raises what `run` raises."""
        async with self._busy:
            done = await self._ask({"op": "load", "stage": stage}, stage, _WHOLE_CALL, None)
            return str(done["model_hash"])

    async def measure(self, stage: str) -> Message:
        """Times a stage on sample input: see `rates.measure_rates`."""
        async with self._busy:
            return await self._ask({"op": "measure", "stage": stage}, stage, _WHOLE_CALL, None)

    async def run(self, request: RunRequest, on_progress: OnProgress | None = None) -> RunResult:
        """Runs a stage; waits while another run is in hand.

        Cancelling the awaiting task stops the run at once: it is asked to, and after a
        second its process is ended.

        Args:
            on_progress: called with (fraction in 0..1, note of at most 80 characters).

        Raises:
            StageFailed: the stage says why it cannot (`reason` is the code).
            RunTimedOut, WorkerOutOfMemory, WorkerCrashed, WorkerStartFailed.
        """
        async with self._busy:
            workdir = Path(tempfile.mkdtemp(prefix="run-", dir=self._scratch))
            try:
                done = await self._ask(
                    {
                        "op": "run",
                        "stage": request.stage,
                        "stage_version": request.stage_version,
                        "params": request.params_json,
                        "inputs": {k: str(v.resolve()) for k, v in request.inputs.items()},
                        "workdir": str(workdir),
                    },
                    request.stage,
                    request.run_limit_s,
                    on_progress,
                )
                return _result(done, workdir)
            except BaseException:
                shutil.rmtree(workdir, ignore_errors=True)
                raise

    async def _ready(self) -> WorkerProcess:
        if self._process is not None and self._process.alive:
            return self._process
        await self.stop()
        process = await WorkerProcess.spawn(
            self._scratch, self._wanted, self._threads, self._nice, self._limit_mb, self._models
        )
        try:
            hello = await process.ready()
        except BaseException:
            await process.close()
            raise
        self._process = process
        self._device = Device.model_validate(hello["device"])
        self._devices = [Device.model_validate(found) for found in hello["devices"]]
        return process

    async def _ask(
        self, message: Message, stage: str, limit_s: float, on_progress: OnProgress | None
    ) -> Message:
        """Sends a request and waits for its end; whatever happens, the process is idle after."""
        process = await self._ready()
        number = next(self._numbers)
        try:
            async with asyncio.timeout(limit_s), self._watch(process) as watch:
                await process.send(message | {"id": number})
                answer = await _answer(process, number, on_progress)
        except TimeoutError:
            await self._stop_run(process, number)
            raise RunTimedOut(
                f"stage {stage} was stopped after its limit of {limit_s:g} s",
                "offer this stage at a slower speed, or not at all",
            ) from None
        except BaseException:
            await self._stop_run(process, number)
            raise
        if answer is None:
            raise await self._ended(process, stage, watch)
        self._resident = list(answer.get("resident", []))
        if answer["type"] == "failed":
            raise self._failure(answer, stage)
        return answer

    async def _stop_run(self, process: WorkerProcess, number: int) -> None:
        try:
            async with asyncio.timeout(GRACE_S):
                await process.send({"op": "cancel", "id": number})
                answer = await _answer(process, number, None)
                self._resident = list((answer or {}).get("resident", []))
        except TimeoutError:
            _log.info("worker %d did not stop by itself and is ended", process.pid)
            process.kill()
        except BaseException:
            process.kill()
            raise

    @contextlib.asynccontextmanager
    async def _watch(self, process: WorkerProcess) -> AsyncIterator[_Watch]:
        """Ends the process where it takes more memory than it may; a CUDA worker limits itself."""
        watch = _Watch()
        limit = self._limit_mb if self.device.kind == "cpu" else None

        async def look() -> None:
            while True:
                watch.peak_mb = max(watch.peak_mb, process.memory_mb())
                if limit is not None and watch.peak_mb > limit:
                    watch.over = True
                    process.kill()
                    return
                await asyncio.sleep(_WATCH_S)

        task = asyncio.create_task(look(), name="worker-memory")
        try:
            yield watch
        finally:
            task.cancel()

    async def _ended(
        self, process: WorkerProcess, stage: str, watch: _Watch
    ) -> WorkerCrashed | WorkerOutOfMemory:
        words = await process.last_words()
        if watch.over:
            return WorkerOutOfMemory(stage, watch.peak_mb, self._limit_mb)
        hint = "it is started again for the next run"
        if words.startswith("signal 9"):
            hint = "the system may have run out of memory; " + hint
        return WorkerCrashed(f"the worker process ended while running {stage}: {words}", hint)

    def _failure(self, answer: Message, stage: str) -> StageFailed | WorkerOutOfMemory:
        if answer["reason"] == "out_of_memory":
            return WorkerOutOfMemory(stage, int(answer["needed_mb"]), self._limit_mb)
        return StageFailed(answer["reason"], answer["message"], answer.get("hint", ""))


@dataclass(slots=True)
class _Watch:
    peak_mb: int = 0
    over: bool = False


async def _answer(
    process: WorkerProcess, number: int, on_progress: OnProgress | None
) -> Message | None:
    """The message that ends request `number`, or None where the process ended."""
    while (message := await process.receive()) is not None:
        if message.get("id") != number:
            continue  # the end of a run that was given up
        if message["type"] != "progress":
            return message
        if on_progress is not None:
            on_progress(float(message["fraction"]), str(message["note"]))
    return None


def _result(done: Message, workdir: Path) -> RunResult:
    outputs = {name: Path(path) for name, path in done["outputs"].items()}
    for name, path in outputs.items():
        if path.parent != workdir or not path.is_file():
            raise StageFailed("internal", f"the stage left no file for its output {name}")
    return RunResult(
        outputs=outputs,
        trajectory=[bytes.fromhex(digest) for digest in done["trajectory"]],
        model_hash=bytes.fromhex(done["model_hash"]),
        started_at_ms=int(done["started_at_ms"]),
        finished_at_ms=int(done["finished_at_ms"]),
        peak_memory_mb=int(done["peak_memory_mb"]),
        workdir=workdir,
    )


def _empty(scratch: Path) -> None:
    """Makes the folder, without what a process that was killed has left in it."""
    scratch.mkdir(parents=True, exist_ok=True)
    for leftover in scratch.glob("run-*"):
        shutil.rmtree(leftover, ignore_errors=True)


async def detect_devices(scratch: Path) -> list[Device]:
    """This machine's devices, best first, found by a process of its own.

    Raises:
        WorkerStartFailed.
    """
    _empty(scratch)
    began = time.monotonic()
    process = await WorkerProcess.spawn(scratch, "auto", 1, 0, None)
    try:
        hello = await process.ready()
    finally:
        await process.close()
    _log.debug("devices found in %.1f s", time.monotonic() - began)
    return [Device.model_validate(found) for found in hello["devices"]]
