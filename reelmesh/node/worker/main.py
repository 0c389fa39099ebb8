"""The worker process: `python -m reelmesh.node.worker.main`, started by `WorkerProcess` alone.

Speaks `wire` messages on standard input and output. Whatever stage code prints goes to
standard error. Ends when its parent does, or when its standard input is closed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import wire

if TYPE_CHECKING:
    from .runner import Runner

_PR_SET_PDEATHSIG = 1


class _Link:
    """The pipes to the node: requests come in on a thread, so that a cancel is heard at once."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[wire.Message] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._listen, name="requests", daemon=True).start()

    def _listen(self) -> None:
        try:
            while (message := wire.read_blocking(self._source)) is not None:
                if message.get("op") == "cancel":
                    self._cancelled.add(int(message["id"]))
                else:
                    self._requests.put(message)
        finally:
            # The node is gone, or does not make sense: there is nobody to work for.
            os._exit(0)

    def next(self) -> wire.Message:
        return self._requests.get()

    def send(self, message: wire.Message) -> None:
        data = wire.pack(message)
        with self._lock:
            self._sink.write(data)
            self._sink.flush()

    def cancelled(self, number: int) -> bool:
        return number in self._cancelled


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)


def _open_link() -> _Link:
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return _Link(source, sink)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--memory-limit-mb", type=int, default=0)
    parser.add_argument("--models", default="")
    return parser.parse_args()


def main() -> None:
    """Serves requests until the node closes the pipe."""
    arguments = _arguments()
    # A Ctrl-C in the terminal is for the node, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent(arguments.parent)
    if arguments.nice:
        os.nice(arguments.nice)
    link = _open_link()
    try:
        runner = _prepare(arguments, link)
    except Exception as error:  # noqa: BLE001 - told to the node, which words it for a person
        link.send({"type": "unable", "message": f"{type(error).__name__}: {error}"[:500]})
        return
    while True:
        request = link.next()
        number = int(request.get("id", 0))
        link.send(_serve(runner, request, link) | {"id": number, "resident": runner.resident})


def _prepare(arguments: argparse.Namespace, link: _Link) -> Runner:
    from reelmesh.node.models.shelf import Shelf
    from reelmesh.node.stages.torch_setup import prepare_torch

    from . import memory
    from .device import choose, find_devices
    from .runner import Runner

    prepare_torch(arguments.threads)
    devices = find_devices()
    device = choose(devices, arguments.device)
    shelf = Shelf(Path(arguments.models)) if arguments.models else None
    runner = Runner(device, shelf, arguments.memory_limit_mb or None)
    if arguments.memory_limit_mb:
        _limit(device, arguments.memory_limit_mb, memory)
    link.send(
        {
            "type": "ready",
            "device": device.model_dump(),
            "devices": [found.model_dump() for found in devices],
        }
    )
    threading.Thread(target=_import_ahead, name="imports", daemon=True).start()
    return runner


def _limit(device: Any, limit_mb: int, memory: Any) -> None:
    if device.kind == "cuda":
        import torch

        torch.cuda.set_per_process_memory_fraction(
            min(1.0, limit_mb / device.memory_mb), device.index
        )
    else:
        memory.limit_growth(limit_mb)


def _import_ahead() -> None:
    """Brings in what most stages need while the node is still waiting for work."""
    try:
        import av  # noqa: F401
        import cv2  # noqa: F401
        import safetensors.torch  # noqa: F401
    except ImportError:
        pass  # said plainly when a stage that needs it is loaded


def _serve(runner: Runner, request: wire.Message, link: _Link) -> wire.Message:
    number = int(request.get("id", 0))
    op = request.get("op")

    def on_progress(fraction: float, note: str) -> None:
        link.send({"type": "progress", "id": number, "fraction": fraction, "note": note})

    def load() -> wire.Message:
        return {"type": "done", "model_hash": runner.load(str(request["stage"])).model_hash.hex()}

    def sample() -> wire.Message:
        from .samples import measure

        return measure(runner, str(request["stage"]), lambda: link.cancelled(number))

    def run() -> wire.Message:
        return runner.run(request, on_progress, lambda: link.cancelled(number))

    work = {"run": run, "load": load, "measure": sample}.get(str(op))
    if work is None:
        return {"type": "failed", "reason": "internal", "message": f"unknown request {op}"}
    return runner.answer(work)


if __name__ == "__main__":
    main()
