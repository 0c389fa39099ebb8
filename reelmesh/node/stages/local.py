"""A whole plan in this process, one subtask after another, without the market."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from reelmesh.node.models.shelf import Shelf
from reelmesh.scheduler.plan import Plan, Subtask

from . import load_stage
from .base import Stage, StageContext, StageFailed
from .torch_setup import prepare_torch

OnProgress = Callable[[str, float, str], None]


def run_plan_locally(
    plan: Plan,
    workdir: Path,
    device: torch.device | str = "cpu",
    threads: int = 1,
    on_progress: OnProgress | None = None,
    sources: Mapping[str, Path] = MappingProxyType({}),
    models: Path | None = None,
) -> Path:
    """Runs every subtask in order and returns the path of the last one's output.

    What the same plan gives through the market it gives here, bit for bit, on a device of
    the same class. Each subtask's files stay in `workdir`/<subtask id>.

    Args:
        device: "cpu", "cuda:0", …
        on_progress: called with (subtask id, fraction in 0..1, note).
        sources: sha256 → file, for what the buyer brought.
        models: folder of production models, for a plan that asks for one.

    Raises:
        StageFailed and the other errors of `Stage.run` and `Stage.load`.
    """
    prepare_torch(threads)
    where = torch.device(device)
    stages: dict[str, Stage] = {}
    outputs: dict[str, dict[str, Path]] = {}
    for subtask in plan.subtasks:
        stage = stages.get(subtask.offering)
        if stage is None:
            stage = stages[subtask.offering] = _loaded(subtask, where, models)
        folder = workdir / subtask.id
        folder.mkdir(parents=True, exist_ok=True)
        context = StageContext(where, folder, _reporter(on_progress, subtask.id))
        inputs = {ref.name: outputs[ref.subtask][ref.output] for ref in subtask.inputs}
        inputs |= {source.name: sources[source.sha256] for source in subtask.sources}
        outputs[subtask.id] = stage.run(subtask.parsed_params(), inputs, context)
    (result,) = outputs[plan.final().id].values()
    return result


def _loaded(subtask: Subtask, device: torch.device, models: Path | None) -> Stage:
    if subtask.model and models is None:
        raise StageFailed("not_installed", f"{subtask.id} needs the model {subtask.model}")
    wanted = Shelf(models).get(subtask.model) if subtask.model and models else None
    stage = load_stage(subtask.stage, wanted)
    if stage.version != subtask.stage_version:
        raise StageFailed(
            "unknown_stage",
            f"stage {stage.name} is at version {stage.version}, not {subtask.stage_version}",
        )
    stage.load(device)
    return stage


def _reporter(on_progress: OnProgress | None, subtask: str) -> Callable[[float, str], None] | None:
    if on_progress is None:
        return None
    return lambda fraction, note: on_progress(subtask, fraction, note)
