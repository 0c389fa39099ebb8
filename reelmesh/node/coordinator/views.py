"""What the command line is shown, as plain JSON values. Money is decimal strings of wei."""

from __future__ import annotations

from typing import Any

from reelmesh.node.coordinator.feed import done_facts
from reelmesh.node.coordinator.records import JobRecord, Similar
from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.job.state import JobState, Outcome, Phase, Subtask, SubtaskStatus
from reelmesh.scheduler.models import offering
from reelmesh.scheduler.templates import make_plan

_MOST_LOSSES = 500


def job_line(record: JobRecord, state: JobState) -> dict[str, Any]:
    """One line of a list."""
    ledger = state.ledger
    done = sum(s.status is SubtaskStatus.DONE for s in state.subtasks.values())
    return {
        "job_id": record.job_id,
        "state": state_word(state),
        "prompt": record.spec.prompt,
        "created_ms": record.created_ms,
        "deadline_ms": state.deadline_ms,
        "budget": str(state.budget),
        "escrowed": str(ledger.escrowed),
        "paid": str(ledger.paid),
        "refunded": str(ledger.refunded),
        "locked": str(ledger.locked),
        "subtasks_done": done,
        "subtasks": len(state.subtasks),
        "video": state.video,
        "similar": _similar(record.similar),
    }


def job_page(record: JobRecord, state: JobState) -> dict[str, Any]:
    """All there is to say about one job."""
    return {
        **job_line(record, state),
        "spec": record.spec.model_dump(mode="json"),
        "out_dir": str(record.out_dir),
        "name": record.name,
        "plan": [
            {
                "id": subtask.id,
                "stage": subtask.stage,
                "units": subtask.units,
                "memory_mb": subtask.memory_mb,
                "inputs": list(dict.fromkeys(ref.subtask for ref in subtask.inputs)),
                "sources": [source.name for source in subtask.sources],
            }
            for subtask in record.plan.subtasks
        ],
        "reused": reused_facts(record)["subtasks"],
        "subtasks": [_subtask(name, subtask) for name, subtask in state.subtasks.items()],
        "providers": [
            {
                "address": address,
                "cap": str(account.cap),
                "promised": str(account.promised),
                "earned": str(account.earned),
                "strikes": account.strikes,
                "absent": account.absent,
                "consented": account.consent is not None,
                "device_class": state.offers[address].device_class,
            }
            for address, account in state.providers.items()
        ],
        "bids": [
            {
                "provider": offer.provider,
                "slots": offer.slots,
                "memory_mb": offer.memory_mb,
                "stages": [
                    {
                        "stage": offering(line.stage, line.model),
                        "model_hash": line.model_hash,
                        "price_per_unit": str(line.price_per_unit),
                        "seconds_per_unit": line.seconds_per_unit,
                    }
                    for line in offer.stages
                ],
            }
            for offer in state.offers.values()
        ],
        "losses": [
            {
                "provider": loss.provider,
                "subtask": loss.subtask,
                "reason": loss.reason,
                "winning_price": str(loss.winning_price),
            }
            for loss in state.losses[:_MOST_LOSSES]
        ],
        "transactions": [tx.model_dump(mode="json") for tx in state.transactions],
        "paid": {p: str(a.promised) for p, a in state.providers.items() if a.promised},
        "paid_in_all": str(state.ledger.paid),
        "receipt": state.receipt,
        "error": _error(state),
    }


def reused_facts(record: JobRecord) -> dict[str, Any]:
    """What was taken in from earlier jobs, and what was left out since only that needed it.

    similar: the prompt whose clip it is and its likeness, where that is another prompt; else null.
    """
    planned = {subtask.id for subtask in record.plan.subtasks}
    made = {one.subtask: one.job_id for one in record.reused}
    every = make_plan(record.spec).subtasks if made else ()
    left_out = [s for s in every if s.id not in planned]
    return {
        "subtasks": [
            {"subtask": s.id, "stage": s.stage, "job_id": made.get(s.id)} for s in left_out
        ],
        "similar": _similar(record.similar),
    }


def _similar(similar: Similar | None) -> dict[str, Any] | None:
    if similar is None:
        return None
    return {"prompt": similar.prompt, "likeness": similar.likeness}


def state_word(state: JobState) -> str:
    """One word for where a job stands."""
    if state.phase is Phase.WORKING and not state.leaves:
        return "calling"
    if state.phase in {Phase.REFUNDING, Phase.ENDED} and state.outcome is not Outcome.OPEN:
        return str(state.outcome)
    return str(state.phase)


def _error(state: JobState) -> str | None:
    if state.reason is None:
        return None
    return f"{state.reason.code}: {state.reason.hint}" if state.reason.hint else state.reason.code


def _subtask(name: SubtaskId, subtask: Subtask) -> dict[str, Any]:
    facts = done_facts(subtask) if subtask.done is not None else {}
    return {
        "id": name,
        "stage": subtask.item.stage,
        "state": str(subtask.status),
        "provider": subtask.done.provider if subtask.done else subtask.assignee,
        "price": str(subtask.done.price if subtask.done else subtask.price),
        "attempts": subtask.attempt,
        "wait_ms": facts.get("wait_ms"),
        "run_ms": facts.get("run_ms"),
        "failures": [{"provider": f.provider, "reason": f.reason} for f in subtask.failures],
    }
