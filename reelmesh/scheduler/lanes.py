"""The bidders as arrays: one row a lane, which is one slot of one provider.

Times are whole milliseconds from the clearing, so that the same bids give the same decision on
every machine. Money is counted in quanta of a power of two of wei, 1 wei unless sums would not fit
63 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelmesh.scheduler.clearing import CODE_OF, LossReason
from reelmesh.scheduler.models import split_offering
from reelmesh.scheduler.offers import ProviderOffer
from reelmesh.scheduler.stages import CATALOGUE

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]

FAR = 2**62
"""Larger than every score."""
MAX_TIME_MS = 10**11
COMPETES = 255
"""In place of a reason's code: nothing but others' scores stands against this lane."""


@dataclass(frozen=True)
class Work:
    """One kind of work, as every lane would do it. All arrays have a row a lane.

    ask: quanta; run_ms: running and delivering; load_ms: only where the model must be loaded;
    blocked: `COMPETES`, or the code of the reason why the lane cannot do this at all; least_ms: the
    shortest run on a lane that can, 0 where there is none.
    """

    ask: Ints
    run_ms: Ints
    load_ms: int
    blocked: Codes
    least_ms: int


@dataclass(frozen=True)
class _Terms:
    """A stage in every lane's bid: wei and seconds a unit, MiB, and who cannot run it at all."""

    price: Reals
    pace: Reals
    memory: Ints
    blocked: Codes
    load_ms: int


class Lanes:
    """All bidders, sorted by address, with the time from which each lane is free."""

    def __init__(self, offers: Sequence[ProviderOffer], quantum: int) -> None:
        self.offers = sorted(offers, key=lambda offer: offer.provider)
        if len({offer.provider for offer in self.offers}) != len(self.offers):
            raise ValueError("one offer a provider")
        self.quantum = quantum
        # A provider without a slot has a row all the same, so that it too is given a reason.
        rows = [(i, s) for i, offer in enumerate(self.offers) for s in range(max(1, offer.slots))]
        self.provider = np.array([i for i, _ in rows], dtype=np.int64)
        self.provider_of = [i for i, _ in rows]
        self.slot = np.array([s for _, s in rows], dtype=np.int64)
        self.most_slots = max(1, *(offer.slots for offer in self.offers), 1)
        self.first = np.searchsorted(self.provider, np.arange(len(self.offers)))
        self.slots = np.array([self.offers[i].slots for i, _ in rows], dtype=np.int64)
        self.memory = np.array([self.offers[i].memory_mb for i, _ in rows], dtype=np.int64)
        self.free_ms = np.array([_ms(self.offers[i].queue_s) for i, _ in rows], dtype=np.int64)
        mbps = np.array([self.offers[i].uplink_mbps for i, _ in rows])
        self.ms_per_byte = 8.0 / (mbps * 1000.0)
        self._resident: dict[str, Bools] = {}
        self._terms: dict[str, _Terms] = {}
        self._work: dict[tuple[str, float, int, int], Work] = {}

    def __len__(self) -> int:
        return len(self.provider)

    def lanes_of(self, provider: int) -> slice:
        """The rows of one provider."""
        start = int(self.first[provider])
        return slice(start, start + max(1, self.offers[provider].slots))

    def work(self, stage: str, units: float, memory_mb: int, bytes_out: int) -> Work:
        """What some work costs and takes on each lane, whatever else is going on there."""
        key = (stage, units, memory_mb, bytes_out)
        if key not in self._work:
            self._work[key] = self._make_work(*key)
        return self._work[key]

    def _make_work(self, stage: str, units: float, memory_mb: int, bytes_out: int) -> Work:
        terms = self._stage_terms(stage)
        ask = np.ceil(np.ceil(terms.price * units) / self.quantum)
        run_ms = np.ceil(terms.pace * (units * 1000.0)) + np.ceil(self.ms_per_byte * bytes_out)
        run_ms = np.minimum(np.maximum(run_ms, 1), MAX_TIME_MS).astype(np.int64)
        blocked = terms.blocked.copy()
        # Runs at once on one device share its memory: further slots only where all of them fit.
        short = np.maximum(terms.memory, memory_mb) * (self.slot + 1) > self.memory
        blocked[short & (blocked == COMPETES)] = CODE_OF[LossReason.NO_MEMORY]
        able = run_ms[blocked == COMPETES]
        return Work(
            ask=np.minimum(ask, float(FAR)).astype(np.int64),
            run_ms=run_ms,
            load_ms=terms.load_ms,
            blocked=blocked,
            least_ms=int(able.min()) if len(able) else 0,
        )

    def _stage_terms(self, stage: str) -> _Terms:
        if stage not in self._terms:
            found = [offer.stages.get(stage) for offer in self.offers]
            rows = self.provider
            name, production = split_offering(stage)
            entry = CATALOGUE.get(name)
            blocked = np.full(len(self), COMPETES, dtype=np.uint8)
            blocked[self.slots == 0] = CODE_OF[LossReason.NO_SLOT]
            offered = np.array([offer is not None for offer in found])[rows]
            missing = LossReason.MODEL_NOT_OFFERED if production else LossReason.STAGE_NOT_OFFERED
            blocked[~offered] = CODE_OF[missing]
            self._terms[stage] = _Terms(
                price=np.array([float(o.price_per_unit) if o else 0.0 for o in found])[rows],
                pace=np.array([o.seconds_per_unit if o else 0.0 for o in found])[rows],
                memory=np.array([o.memory_mb if o else 0 for o in found], dtype=np.int64)[rows],
                blocked=blocked,
                load_ms=_ms(entry.load_s) if entry and entry.has_weights else 0,
            )
        return self._terms[stage]

    def cold(self, stage: str) -> Bools:
        """Lanes on which the stage's model would have to be loaded first."""
        model = model_of(stage)
        if model not in self._resident:
            self._resident[model] = np.array(
                [_holds(offer, model) for offer in self.offers], dtype=np.bool_
            )[self.provider]
        return ~self._resident[model]

    def warm(self, stage: str, provider: int) -> None:
        """From now on the provider has the stage's model loaded."""
        self.cold(stage)
        self._resident[model_of(stage)][self.lanes_of(provider)] = True


def model_of(stage: str) -> str:
    """What has to be loaded to run an offering; two stages may share an embedded model."""
    entry = CATALOGUE.get(stage)
    return (entry.model if entry else None) or f"stage:{stage}"


def _holds(offer: ProviderOffer, model: str) -> bool:
    return any(
        stage_offer.resident and model_of(stage) == model
        for stage, stage_offer in offer.stages.items()
    )


def _ms(seconds: float) -> int:
    return min(MAX_TIME_MS, round(seconds * 1000))
