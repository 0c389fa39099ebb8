"""This machine at work: its workers, how fast they are, and what it says of itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from reelmesh.errors import UserError
from reelmesh.node.config import ProviderConfig
from reelmesh.node.logging import get_logger
from reelmesh.node.models.shelf import Shelf
from reelmesh.node.provider.policy import PricePolicy, StageRate
from reelmesh.node.worker import MeasuredRate, RateBook, Worker, measure_rates
from reelmesh.scheduler.models import offering, split_offering
from reelmesh.scheduler.stages import CATALOGUE

log = get_logger(__name__)


class NothingToOffer(UserError):
    """No stage runs on this machine."""


class Machine:
    """One worker per slot, and the rates measured on the first of them.

    Attributes:
        workers: One per slot, all on the same device.
        memory_mb: What one run may take, MiB.
    """

    def __init__(self, config: ProviderConfig, workers: list[Worker]) -> None:
        self._config = config
        self._rates: dict[str, MeasuredRate] = {}
        self.workers = workers
        device = workers[0].device
        self.device_class = device.device_class
        self.device_name = device.name
        share = device.memory_mb // len(workers)
        limit = config.memory_limit_mb
        self.memory_mb = share if limit is None else min(limit, share)

    async def measure(self) -> None:
        """Measure what is not known yet, and load the models. Raises NothingToOffer."""
        wanted = self._config.stages or tuple(CATALOGUE)
        unknown = [name for name in wanted if split_offering(name)[0] not in CATALOGUE]
        if unknown:
            raise UserError(
                f"no stage is named {unknown[0][:40]!r}", f"there are {', '.join(CATALOGUE)}"
            )
        book = RateBook(self._config.home / "rates.json")
        self._rates = await measure_rates(self.workers[0], self._offerings(wanted), book)
        if not self._rates:
            raise NothingToOffer(
                "no stage runs on this machine", "the log says why for each; see also: doctor"
            )
        for rate in self._rates.values():
            log.info("rate", stage=rate.stage, seconds_per_unit=round(rate.seconds_per_unit, 5))

    def _offerings(self, wanted: Sequence[str]) -> list[str]:
        """The stages as they are built in, and once for each production model that is here."""
        here = [found.model for found in Shelf(self._config.models_folder).installed()]
        found: list[str] = []
        for name in wanted:
            if "@" in name or CATALOGUE[name].embedded:
                found.append(name)
            found += [offering(name, model.name) for model in here if name in model.stages]
        return list(dict.fromkeys(found))

    def rates(self) -> dict[str, StageRate]:
        """What is offered, by offering."""
        resident = set(self.workers[0].resident)
        return {
            name: StageRate(
                stage=split_offering(name)[0],
                model=split_offering(name)[1],
                model_hash=bytes.fromhex(rate.model_hash),
                stage_version=rate.stage_version,
                seconds_per_unit=rate.seconds_per_unit,
                memory_mb=rate.memory_mb,
                resident=name in resident,
            )
            for name, rate in self._rates.items()
        }

    def needs_more(self, stage: str, memory_mb: int) -> None:
        """A run went out of memory: bid from now on as one that needs at least this much."""
        rate = self._rates.get(stage)
        if rate is not None and memory_mb > rate.memory_mb:
            self._rates[stage] = rate.model_copy(update={"memory_mb": memory_mb})

    def policy(self) -> PricePolicy:
        """How prices are made, as configured."""
        return PricePolicy(
            threads=self._config.threads,
            wei_per_cpu_second=self._config.wei_per_cpu_second,
            margin=self._config.margin,
            busy_surcharge=self._config.busy_surcharge,
            price_floors=self._config.price_floors,
        )


@contextlib.asynccontextmanager
async def open_machine(config: ProviderConfig, scratch: Path) -> AsyncIterator[Machine]:
    """Start one worker per slot, and end them in every case. Raises WorkerStartFailed."""
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                Worker(
                    config.device,
                    config.threads,
                    scratch / f"slot-{number}",
                    config.memory_limit_mb,
                    config.nice,
                    config.models_folder,
                )
            )
            for number in range(config.slots)
        ]
        yield Machine(config, workers)
