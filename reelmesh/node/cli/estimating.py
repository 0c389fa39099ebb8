"""What a job is made of, and what it should cost in money, time and energy, before it is posted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelmesh.errors import UserError
from reelmesh.node.cli.money import format_eth
from reelmesh.node.cli.output import table

if TYPE_CHECKING:
    from reelmesh.node.coordinator.offers import LiveOffer
    from reelmesh.scheduler.plan import Plan
    from reelmesh.scheduler.spec import JobSpec

ANCHOR_YUAN, ANCHOR_S = 3.67, 5.0
"""A published price of generated video: 3.67 yuan for 5 s. What ours is set beside."""
YUAN_PER_ETH = 20_000.0
"""An assumption for the comparison, changed with --yuan-per-eth; no rate is looked up."""
_WEI_PER_ETH = 10**18


@dataclass(frozen=True)
class Known:
    """What an estimate may rest on.

    Attributes:
        offers: What providers advertise now; empty where no coordinator runs.
        watts: Device class → watts that this machine measured at work.
    """

    offers: Sequence[LiveOffer] = ()
    watts: Mapping[str, float] = field(default_factory=dict)
    yuan_per_eth: float = YUAN_PER_ETH


async def ask_offers(socket: Path) -> list[LiveOffer]:
    """What providers advertise to the coordinator at a socket; none where it does not answer."""
    from reelmesh.node.cli.control import ControlClient
    from reelmesh.node.coordinator.offers import LiveOffer

    async with ControlClient(socket) as client:
        return [LiveOffer.model_validate(offer, strict=False) for offer in await client.offers()]


def measured_watts(provider_home: Path) -> dict[str, float]:
    """Device class → watts, where this machine's provider could read them."""
    if not (provider_home / "rates.json").is_file():
        return {}
    from reelmesh.node.worker.rates import RateBook

    return RateBook(provider_home / "rates.json").watts()


def estimate_job(spec: JobSpec, known: Known | None = None) -> dict[str, Any]:
    """Everything that can be said of a job, as JSON-able values; wei as strings."""
    from reelmesh.node.coordinator.submitting import RESERVE_PARTS
    from reelmesh.scheduler.cost import least_budget, reference_cost
    from reelmesh.scheduler.templates import make_plan

    known = known or Known()
    if not 0 < known.yuan_per_eth < float("inf"):
        raise UserError("--yuan-per-eth must be more than 0", "leave it out")
    plan = make_plan(spec)
    expected = _expected(plan, known)
    return {
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec.spec_hash(),
        "depth": _depth(spec),
        "least_budget": str(least_budget(plan) * RESERVE_PARTS),
        **expected,
        "energy": _energy(plan, known),
        "anchor": _anchor(spec, int(expected["price"]["wei"]), known),
        "subtasks": [
            {
                "id": task.id,
                "stage": task.stage,
                "units": task.units,
                "memory_mb": task.memory_mb,
                "reference_cost": str(reference_cost(task)),
                "bytes_in": task.bytes_in,
                "bytes_out": task.bytes_out,
            }
            for task in plan.subtasks
        ],
    }


def _expected(plan: Plan, known: Known) -> dict[str, Any]:
    """Price and time: from live ads where they cover the plan, or else from the cost model."""
    from reelmesh.scheduler.cost import estimate, least_budget
    from reelmesh.scheduler.energy import reference_seconds

    found = estimate(plan, [live.offer for live in known.offers]) if known.offers else None
    if found is not None and not found.missing:
        providers = len(known.offers)
        return {
            "price": {"wei": str(found.cheapest), "from": "live ads", "providers": providers},
            "time": {"seconds": round(found.fastest_s, 1), "from": "live ads"},
            "missing": {},
        }
    one, many = reference_seconds(plan)
    missing = {str(task): reason.value for task, reason in found.missing.items()} if found else {}
    return {
        "price": {"wei": str(least_budget(plan)), "from": "cost model", "providers": 0},
        "time": {
            "seconds": round(many, 1),
            "on_one_thread_s": round(one, 1),
            "from": "cost model",
        },
        "missing": missing,
    }


def _energy(plan: Plan, known: Known) -> dict[str, Any]:
    from reelmesh.scheduler.energy import class_watts, energy

    watts = {}
    for live in known.offers:
        read = known.watts.get(live.device_class)
        power = class_watts(live.device_class) if read is None else read
        watts[live.offer.provider] = (power, read is not None)
    found = energy(plan, [live.offer for live in known.offers], watts)
    return {
        "wh": round(found.watt_hours, 4),
        "joules": round(found.joules, 1),
        "measured_share": round(found.measured, 3),
        "power": "measured" if found.measured > 0.99 else "assumed for the device class",
    }


def _anchor(spec: JobSpec, wei: int, known: Known) -> dict[str, Any]:
    yuan = wei / _WEI_PER_ETH * known.yuan_per_eth
    return {
        "yuan_for_5_s": ANCHOR_YUAN,
        "yuan_for_this_length": round(ANCHOR_YUAN * spec.seconds / ANCHOR_S, 2),
        "this_job_yuan": round(yuan, 4),
        "assumed_yuan_per_eth": known.yuan_per_eth,
    }


def _depth(spec: JobSpec) -> dict[str, Any] | None:
    from reelmesh.scheduler.complexity import complexity_of, depth_of
    from reelmesh.scheduler.spec import GeneratedSpec

    if not isinstance(spec, GeneratedSpec):
        return None
    depth, content = depth_of(spec), complexity_of(spec)
    return {
        "quality": spec.quality,
        "content": content.word,
        "because": list(content.because),
        "steps": depth.steps,
        "guided": depth.guided,
        "sparse": depth.sparse,
    }


def print_estimate(told: dict[str, Any]) -> None:
    """Print an estimate, stage by stage, then what it comes to."""
    counts: Counter[str] = Counter()
    costs: Counter[str] = Counter()
    for task in told["subtasks"]:
        counts[task["stage"]] += 1
        costs[task["stage"]] += int(task["reference_cost"])
    rows = [[stage, str(counts[stage]), format_eth(cost)] for stage, cost in costs.items()]
    table("Subtasks by stage", ["stage", ">subtasks", ">by the cost model"], rows)
    print()
    for name, text in (*_said(told), ("least budget", _budget(told))):
        print(f"{name:<16}{text}")


def _said(told: dict[str, Any]) -> list[tuple[str, str]]:
    price, time, power = told["price"], told["time"], told["energy"]
    if price["from"] == "live ads":
        source = f"lowest asks of {price['providers']} providers now; the auction decides"
        until = "when price does not matter, by the speeds that they advertise"
    elif told["missing"]:
        source = until = f"cost model: nobody offers {', '.join(list(told['missing'])[:3])} now"
    else:
        source = "cost model; no live ads: reelmesh devnet up, or coordinator run"
        until = f"cost model, enough machines; {time['on_one_thread_s']:g} s one after another"
    lines = []
    if (depth := told["depth"]) is not None:
        why = f" ({', '.join(depth['because'])})" if depth["because"] else ""
        steps = f"{depth['steps']} steps, {depth['guided']} of them guided"
        steps += ", plain parts enlarged plainly" if depth["sparse"] else ""
        text = f"{depth['quality']}: {steps}; the prompt looks {depth['content']}{why}"
        lines.append(("quality", text))
    return [
        *lines,
        ("price", f"{format_eth(price['wei'])}  ({source})"),
        ("time", f"{time['seconds']:g} s  ({until})"),
        ("energy", f"{power['wh']:.3g} Wh  (power {power['power']})"),
        ("for comparison", _compared(told["anchor"])),
    ]


def _compared(anchor: dict[str, Any]) -> str:
    ours = f"{anchor['this_job_yuan']:.2f} yuan at an assumed {anchor['assumed_yuan_per_eth']:g}"
    theirs = f"{anchor['yuan_for_this_length']:.2f} yuan at a published {anchor['yuan_for_5_s']:g}"
    return f"{ours} yuan/ETH; {theirs} for 5 s, of a far larger model"


def _budget(told: dict[str, Any]) -> str:
    return f"{format_eth(told['least_budget'])}; what is not needed comes back at the end"
