"""What a job is made of and what it should cost, before anything is spent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from reelmesh.node.cli.money import format_eth
from reelmesh.node.cli.output import table

if TYPE_CHECKING:
    from reelmesh.scheduler.spec import JobSpec


def estimate_job(spec: JobSpec) -> dict[str, Any]:
    """Return spec, subtasks and the least budget, as JSON-able values; wei as strings."""
    from reelmesh.node.coordinator.submitting import RESERVE_PARTS
    from reelmesh.scheduler.cost import least_budget, reference_cost
    from reelmesh.scheduler.templates import make_plan

    plan = make_plan(spec)
    return {
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec.spec_hash(),
        "least_budget": str(least_budget(plan) * RESERVE_PARTS),
        "subtasks": [
            {
                "id": task.id,
                "stage": task.stage,
                "units": task.units,
                "memory_mb": task.memory_mb,
                "reference_cost": str(reference_cost(task)),
            }
            for task in plan.subtasks
        ],
    }


def print_estimate(told: dict[str, Any]) -> None:
    """Print an estimate, stage by stage."""
    counts: Counter[str] = Counter()
    costs: Counter[str] = Counter()
    for task in told["subtasks"]:
        counts[task["stage"]] += 1
        costs[task["stage"]] += int(task["reference_cost"])
    rows = [[stage, str(counts[stage]), format_eth(cost)] for stage, cost in costs.items()]
    table("Subtasks by stage", ["stage", ">subtasks", ">expected cost"], rows)
    least = format_eth(told["least_budget"])
    print(f"\nleast budget {least}; what is not needed comes back at the end")
