"""What was taken in from earlier jobs: whose work it was, and that the plan left out just that."""

from __future__ import annotations

from collections.abc import Iterator

from reelmesh.contracts.eip712 import Domain
from reelmesh.node.coordinator.records import Reused
from reelmesh.node.coordinator.reusing import signed_by_its_provider
from reelmesh.node.receipt.model import Receipt, ReusedWork
from reelmesh.node.receipt.report import Check, holds, same
from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.reuse import prune, work_keys
from reelmesh.scheduler.sources import Given


def left_of(template: Plan, receipt: Receipt) -> Plan:
    """The template's plan less what the receipt calls reused; as it is where nothing is left."""
    return prune(template, _kept(receipt)).plan or template


def check(receipt: Receipt, domain: Domain, template: Plan | None) -> Iterator[Check]:
    """Each reused result's attestation; with the spec's template also its key and place.

    `domain`: of this market, on which the earlier jobs were too.
    """
    if template is not None and receipt.reused:
        yield same(
            "reused.subtasks",
            [one.subtask for one in receipt.reused],
            list(prune(template, _kept(receipt)).reused),
            "each is one that the plan takes in",
        )
    for one in receipt.reused:
        name = f"reused.{one.subtask[:50]}"
        if template is not None:
            key = work_keys(template)[SubtaskId(one.subtask)]
            yield same(f"{name}.key", one.key, key, "kept under the key of this very work")
        yield holds(
            f"{name}.attested",
            signed_by_its_provider(domain, Reused.model_validate(one.model_dump())),
            f"made in job {one.job_id}, and attested there by {one.provider}",
            "its provider did not attest to have made this",
        )


def _kept(receipt: Receipt) -> dict[SubtaskId, Given]:
    return {SubtaskId(one.subtask): _given(one) for one in receipt.reused}


def _given(one: ReusedWork) -> Given:
    (output,) = one.outputs.values()
    return Given.model_validate(output.model_dump())
