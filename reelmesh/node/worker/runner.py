"""Running stages inside the worker process: keeps models resident, turns errors into codes."""

from __future__ import annotations

import errno
import gc
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from reelmesh.errors import ReelmeshError
from reelmesh.node.models.shelf import Installed, Shelf
from reelmesh.node.stages import StageCancelled, StageFailed, load_stage
from reelmesh.node.stages.base import Stage, StageContext
from reelmesh.scheduler.models import MODELS, offering, split_offering
from reelmesh.scheduler.stages import entry, parse_params

from . import memory
from .clock import WorkClock
from .device import Device, as_torch
from .wire import Message

_SHARE = 0.8
"""Of a device's memory, what models may hold; the rest is for what a run works on."""

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]

#: Artifact kinds whose bytes come from outside the market, in formats made for anything.
STRANGE = frozenset({"picture", "footage"})


class Runner:
    """Runs one stage at a time on one device."""

    def __init__(
        self, device: Device, shelf: Shelf | None = None, memory_limit_mb: int | None = None
    ) -> None:
        self.device = device
        self._shelf = shelf
        self._room_mb = min(memory_limit_mb or device.memory_mb, device.memory_mb)
        self._torch_device = as_torch(device)
        self._stages: dict[str, Stage] = {}

    @property
    def resident(self) -> list[str]:
        """Stages, or `stage@model`, whose model is loaded."""
        return sorted(self._stages)

    def load(self, name: str) -> Stage:
        """The stage, or `stage@model`, with its model on the device. Raises ReelmeshError."""
        stage = self._stages.pop(name, None)
        if stage is None:
            kind, model = split_offering(name)
            stage = load_stage(kind, self._installed(model))
            entry(kind, stage.version)
            self._make_room(MODELS[model].weights_mb.get(kind, 0) if model else 0)
            stage.load(self._torch_device)
        self._stages[name] = stage  # the last used stands last
        return stage

    def _installed(self, model: str) -> Installed | None:
        if not model:
            return None
        if self._shelf is None:
            raise StageFailed("not_installed", "this worker has no folder of production models")
        return self._shelf.get(model)

    def _make_room(self, needed_mb: int) -> None:
        """Lets go of production models, the longest unused first, until another's weights fit."""
        held = {name: _weights_mb(name) for name in self._stages if "@" in name}
        while held and needed_mb and sum(held.values()) + needed_mb > self._room_mb * _SHARE:
            oldest = next(iter(held))
            del held[oldest], self._stages[oldest]
            gc.collect()
            if self._torch_device.type == "cuda":
                import torch

                torch.cuda.empty_cache()

    def answer(self, work: Callable[[], Message]) -> Message:
        """What `work` returns, or a message of type "failed" for whatever it raises."""
        try:
            return work()
        except StageCancelled:
            return _failed("cancelled", "the run was cancelled")
        except StageFailed as error:
            return _failed(error.reason, error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - the worker outlives any stage's failure
            return self._unexpected(error)

    def run(
        self,
        request: Mapping[str, Any],
        on_progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> Message:
        """One run, as a message of type "done". Raises what the stage raises."""
        import torch

        memory.reset_peak()
        if self._torch_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._torch_device)
        started = time.time_ns() // 1_000_000
        name = str(request["stage"])
        entry(name, int(request["stage_version"]))
        params = parse_params(name, str(request["params"]))
        stage = self.load(offering(name, getattr(params, "model", "")))
        clock = WorkClock()
        inputs = {key: Path(path) for key, path in request["inputs"].items()}
        _check_names(name, params, inputs)
        context = StageContext(self._torch_device, Path(request["workdir"]), on_progress, cancelled)
        with _bounds(name, params):
            outputs = stage.run(params, inputs, context)
        return {
            "type": "done",
            "outputs": {key: str(path) for key, path in outputs.items()},
            "trajectory": [digest.hex() for digest in context.trajectory],
            "model_hash": stage.model_hash.hex(),
            "run_s": clock.seconds(),
            "started_at_ms": started,
            "finished_at_ms": time.time_ns() // 1_000_000,
            "peak_memory_mb": memory.device_peak_mb(torch, self._torch_device),
        }

    def _unexpected(self, error: Exception) -> Message:
        if memory.ran_out(error):
            import torch

            used = memory.device_peak_mb(torch, self._torch_device)
            if self._torch_device.type == "cuda":
                torch.cuda.empty_cache()
            message = _failed("out_of_memory", "out of memory")
            return message | {"needed_mb": memory.needed_mb(error, used)}
        if isinstance(error, ReelmeshError):
            return _failed(_reason(error), error.message, error.hint)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return _failed("disk_full", "the disk that the worker writes to is full", "free space")
        traceback.print_exception(error, file=sys.stderr)
        return _failed("internal", f"{type(error).__name__}: {error}"[:300])


def _bounds(name: str, params: Any) -> AbstractContextManager[None]:
    """Holds a stage that decodes a stranger's media to the memory that its entry states."""
    found = entry(name)
    if STRANGE.isdisjoint(found.inputs.values()):
        return nullcontext()
    return memory.held_to(found.memory_mb(params))


def _weights_mb(name: str) -> int:
    stage, model = split_offering(name)
    return MODELS[model].weights_mb.get(stage, 0)


def _check_names(stage: str, params: Any, inputs: Mapping[str, Path]) -> None:
    wanted = set(entry(stage).inputs_for(params))
    if set(inputs) != wanted:
        raise StageFailed("bad_input", f"{stage} takes {sorted(wanted)[:8]}, not what was given")


def _reason(error: ReelmeshError) -> str:
    return {"InvalidParams": "bad_params", "UnknownStage": "unknown_stage"}.get(
        type(error).__name__, "not_installed"
    )


def _failed(reason: str, message: str, hint: str = "") -> Message:
    return {"type": "failed", "reason": reason, "message": message[:500], "hint": hint[:200]}
