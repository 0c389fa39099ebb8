"""What a job takes in energy, as far as can be said before it runs.

A device's power while it works is measured where its machine tells it, and otherwise taken for its
class: `WATTS`, makers' figures for a busy device, rounded. A host's own draw, networks and cooling
are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from reelmesh.scheduler.cost import OVERHEAD_S, REFERENCE, ReferenceRate, fits
from reelmesh.scheduler.ids import NodeAddress
from reelmesh.scheduler.offers import ProviderOffer, ask_wei
from reelmesh.scheduler.plan import Plan, Subtask

WATTS: Mapping[str, float] = MappingProxyType(
    {
        "cpu": 10.0,  # one busy thread of a server of 250 W with 48 threads, with its memory
        "cuda": 300.0,
        "cuda-sm70": 250.0,  # V100
        "cuda-sm75": 70.0,  # T4
        "cuda-sm80": 350.0,  # A100
        "cuda-sm86": 320.0,  # RTX 3080
        "cuda-sm89": 320.0,  # RTX 4080, L40
        "cuda-sm90": 600.0,  # H100, H200
        "cuda-sm100": 1000.0,  # B200
    }
)
"""Device class → watts while one slot of it works."""

J_PER_WH = 3600.0


@dataclass(frozen=True)
class Energy:
    """joules: of all subtasks together. measured: the share of them at a measured power, 0..1."""

    joules: float
    measured: float

    @property
    def watt_hours(self) -> float:
        """The same, as a meter shows it."""
        return self.joules / J_PER_WH


def class_watts(device_class: str) -> float:
    """The power taken for a device class; for an unknown one that of its kind."""
    kind = device_class.split("-", maxsplit=1)[0]
    return WATTS.get(device_class, WATTS.get(kind, WATTS["cpu"]))


def energy(
    plan: Plan,
    offers: Sequence[ProviderOffer] = (),
    watts: Mapping[NodeAddress, tuple[float, bool]] = MappingProxyType({}),
    reference: Mapping[str, ReferenceRate] = REFERENCE,
) -> Energy:
    """Energy of a plan where every subtask goes to its lowest ask; what nobody offers runs on the
    reference machine.

    Args:
        watts: provider → (its device's power at work, whether that was measured).
    """
    total = measured = 0.0
    for subtask in plan.subtasks:
        offer = _cheapest(subtask, offers)
        if offer is None:
            pace, known = reference[subtask.offering].seconds_per_unit, False
            power = WATTS["cuda" if subtask.model else "cpu"]
        else:
            pace = offer.stages[subtask.offering].seconds_per_unit
            power, known = watts.get(offer.provider, (WATTS["cpu"], False))
        joules = power * pace * subtask.units
        total += joules
        measured += joules if known else 0.0
    return Energy(total, measured / total if total else 0.0)


def reference_seconds(
    plan: Plan, reference: Mapping[str, ReferenceRate] = REFERENCE
) -> tuple[float, float]:
    """Seconds of a plan on reference machines: (all on one, each as soon as its inputs are there).

    With the overhead of each subtask; fetching is not counted.
    """
    ends: dict[str, float] = {}
    whole = 0.0
    for subtask in plan.subtasks:
        took = reference[subtask.offering].seconds_per_unit * subtask.units + OVERHEAD_S
        whole += took
        ready = max((ends[ref.subtask] for ref in subtask.inputs), default=0.0)
        ends[subtask.id] = ready + took
    return whole, max(ends.values())


def _cheapest(subtask: Subtask, offers: Sequence[ProviderOffer]) -> ProviderOffer | None:
    able = (offer for offer in offers if fits(offer, subtask) is None)
    asks = ((_ask(offer, subtask), offer.provider, offer) for offer in able)
    found = min(asks, key=lambda ask: ask[:2], default=None)
    return None if found is None else found[2]


def _ask(offer: ProviderOffer, subtask: Subtask) -> int:
    return ask_wei(offer.stages[subtask.offering].price_per_unit, subtask.units)
