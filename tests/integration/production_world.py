"""What the tests of all production models share: the devices, and stages run as a worker does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from reelmesh.node.models.shelf import Shelf
from reelmesh.node.stages import load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.scheduler.stages import parse_params

CUDA = pytest.param(
    "cuda:0",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
)
DEVICES = ["cpu", CUDA]


def timed(name: str, wanted: str) -> Iterator[Any]:
    """The device; on a GPU says how long the test `name` took there, and how much memory."""
    found = torch.device(wanted)
    if found.type == "cuda":
        torch.cuda.reset_peak_memory_stats(found)
    began = time.perf_counter()
    yield found
    if found.type == "cuda":
        peak = torch.cuda.max_memory_allocated(found) >> 20
        print(f"{name}: {time.perf_counter() - began:.2f} s, {peak} MiB, bfloat16")


class Runs:
    """Runs a model's stages, each kept once it is loaded, as a worker does."""

    def __init__(self, home: Path, where: Path, device: Any, model: str) -> None:
        self._shelf, self._device, self._model = Shelf(home / "models"), device, model
        self.where = where
        self._stages: dict[str, Any] = {}

    def stage(self, name: str) -> Any:
        if name not in self._stages:
            self._stages[name] = load_stage(name, self._shelf.get(self._model))
            self._stages[name].load(self._device)
        return self._stages[name]

    def __call__(
        self, name: str, params: dict[str, Any], inputs: dict[str, Path]
    ) -> tuple[Path, list[bytes]]:
        folder = self.where / f"{name}-{len(list(self.where.iterdir()))}"
        folder.mkdir()
        context = StageContext(self._device, folder)
        outputs = self.stage(name).run(parse_params(name, params), inputs, context)
        (path,) = outputs.values()
        return path, context.trajectory

    def features(self, prompt: str = "a red fox runs") -> dict[str, Path]:
        texts = {"model": self._model, "prompt": prompt, "negative": "grey"}
        return {"features": self("encode_prompt", texts, {})[0]}
