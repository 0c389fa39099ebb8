"""How fast this machine runs each stage: measured once, then kept."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reelmesh.errors import ReelmeshError
from reelmesh.scheduler.models import split_offering
from reelmesh.scheduler.stages import entry

from .power import metered
from .worker import Worker

_log = logging.getLogger(__name__)


class MeasuredRate(BaseModel):
    """A stage's measured speed here, with cores to itself, and its peak memory in MiB.

    watts: what the device drew meanwhile, where the machine tells it.
    stage: its name, with `@model` where a production model runs it; model_hash is then its hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stage: str
    stage_version: int
    seconds_per_unit: float = Field(gt=0)
    memory_mb: int = Field(ge=0)
    watts: float | None = Field(default=None, gt=0)
    model_hash: str = ""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    device_class: str
    threads: int
    model_hash: str
    rate: MeasuredRate


class RateBook:
    """Rates on disk, one for each device, number of threads, stage version and model.

    A book that cannot be read is kept aside as `<name>.damaged` and rates are measured anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = self._read()

    def find(self, worker: Worker, stage: str, model_hash: str) -> MeasuredRate | None:
        """The rate of a stage's present version on a worker's device, if it was measured."""
        version = entry(split_offering(stage)[0]).version
        for kept in self._kept:
            if (
                _fits(kept, worker, stage)
                and kept.model_hash == model_hash
                and kept.rate.stage_version == version
            ):
                return kept.rate
        return None

    def put(self, worker: Worker, rate: MeasuredRate, model_hash: str) -> None:
        """Keeps a rate in the place of an older one, on disk before this returns."""
        device = worker.device
        new = _Kept(
            device=device.name,
            device_class=device.device_class,
            threads=worker.threads,
            model_hash=model_hash,
            rate=rate,
        )
        self._kept = [kept for kept in self._kept if not _fits(kept, worker, rate.stage)] + [new]
        self._write()

    def watts(self) -> dict[str, float]:
        """Device class → mean watts at work, of the classes whose power could be read."""
        drawn: dict[str, list[float]] = {}
        for kept in self._kept:
            if kept.rate.watts is not None:
                drawn.setdefault(kept.device_class, []).append(kept.rate.watts)
        return {device_class: statistics.fmean(each) for device_class, each in drawn.items()}

    def _read(self) -> list[_Kept]:
        try:
            rows = json.loads(self._path.read_text())
            return [_Kept.model_validate(row) for row in rows]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, ValidationError) as error:
            aside = self._path.with_name(self._path.name + ".damaged")
            _log.warning("the rates in %s cannot be read and are kept aside: %s", aside, error)
            self._path.replace(aside)
            return []

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_text(json.dumps([kept.model_dump() for kept in self._kept], indent=1))
        beside.replace(self._path)


def _fits(kept: _Kept, worker: Worker, stage: str) -> bool:
    device = worker.device
    return (kept.device, kept.device_class, kept.threads, kept.rate.stage) == (
        device.name,
        device.device_class,
        worker.threads,
        stage,
    )


async def measure_rates(
    worker: Worker, stages: Iterable[str], book: RateBook | None = None
) -> dict[str, MeasuredRate]:
    """The rate of each stage that this worker can run, measured where the book has none.

    stages: names, with `@model` where a production model runs one.

    All stages are resident afterwards.
    A stage that cannot run here (a package or memory is missing) is logged and left out.
    """
    rates: dict[str, MeasuredRate] = {}
    for stage in stages:
        try:
            model_hash = await worker.load(stage)
            known = book.find(worker, stage, model_hash) if book is not None else None
            if known is not None:
                rates[stage] = known
                continue
            with metered(worker.device) as drawn:
                found = await worker.measure(stage)
        except ReelmeshError as error:
            _log.warning("stage %s is not offered: %s", stage, error)
            continue
        rates[stage] = MeasuredRate(
            stage=stage,
            stage_version=int(found["stage_version"]),
            seconds_per_unit=float(found["seconds_per_unit"]),
            memory_mb=int(found["memory_mb"]),
            watts=drawn.watts,
            model_hash=model_hash if "@" in stage else "",
        )
        if book is not None:
            book.put(worker, rates[stage], model_hash)
    return rates
