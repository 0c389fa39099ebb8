"""What watchers are shown: plain facts, told from each event and the states around it.

Type to data (money as decimal strings of wei, times in ms):

- job_posted {tx, gas, budget, deadline_ms}
- reused {subtasks: [{subtask, stage, job_id: of the job that made it, or null where only other
  reused ones needed it}], similar: {prompt, likeness} of the other prompt whose clip was taken,
  or null}
- planned {subtasks: [{id, stage, units, memory_mb, inputs: [ids]}]}
- call_published {round, closes_at_ms}
- bid_received {provider, stages: [{stage, price_per_unit, seconds_per_unit}]}
- bid_refused {provider, reason}
- cleared {round, awards: [{subtask, provider, price}],
  losses: [{provider, subtask, reason, winning_price}], unplaced: {subtask: reason}}
- award_committed {tx, gas, root, sum}
- leased {subtask, provider, attempt, wait_ms}
- progress {subtask, provider, fraction, note}
- chunk {subtask, provider, accepted_bytes, total_bytes, voucher_total}
- subtask_done {subtask, provider, price, wait_ms, run_ms, output_bytes, voucher_total}
- subtask_failed {subtask, provider, reason, message}
- lease_expired {subtask, provider}
- provider_absent {provider}
- retendered {round, subtasks}
- consent {provider, total}
- preview {video: its path}
- settled {tx, gas, paid: {provider: wei}, refunded, locked}
- refunded {tx, gas, amount}
- delivered {video, receipt} | job_failed {reason, hint} | job_cancelled {reason}: the last three
  end a watch; `refunded` may follow them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reelmesh.scheduler.job import events as ev
from reelmesh.scheduler.job.events import Event
from reelmesh.scheduler.job.state import JobState, Outcome, Phase, Subtask, TenderPhase
from reelmesh.scheduler.models import offering

TERMINAL = frozenset({"delivered", "job_failed", "job_cancelled"})
_MOST_LOSSES = 2_000

Item = tuple[str, dict[str, Any]]


def feed_items(event: Event, before: JobState, after: JobState) -> list[Item]:
    """What this event tells a watcher, in order."""
    return [*_of_event(event, before, after), *_of_tender(before, after), *_of_end(before, after)]


def _of_event(event: Event, before: JobState, after: JobState) -> Iterator[Item]:
    match event:
        case ev.EscrowConfirmed():
            yield (
                "job_posted",
                {
                    "tx": event.tx,
                    "gas": event.gas,
                    "budget": str(after.budget),
                    "deadline_ms": after.deadline_ms,
                },
            )
            yield "planned", {"subtasks": [_planned(s) for s in after.subtasks.values()]}
        case ev.BidReceived():
            yield "bid_received", _bid(event)
        case ev.Cleared():
            yield "cleared", _cleared(event)
        case ev.AwardConfirmed():
            yield (
                "award_committed",
                {
                    "tx": event.tx,
                    "gas": event.gas,
                    "root": event.root,
                    "sum": str(sum(leaf.cap for leaf in after.leaves)),
                },
            )
        case ev.ConsentReceived():
            yield "consent", {"provider": event.provider, "total": str(event.total)}
        case ev.SettlementConfirmed():
            yield (
                "settled",
                {
                    "tx": event.tx,
                    "gas": event.gas,
                    "paid": {p: str(a.promised) for p, a in after.providers.items() if a.promised},
                    "refunded": str(event.refunded),
                    "locked": str(event.locked),
                },
            )
        case ev.RefundConfirmed():
            yield "refunded", {"tx": event.tx, "gas": event.gas, "amount": str(event.amount)}
        case _:
            yield from _of_work(event, before, after)


def _of_work(event: Event, before: JobState, after: JobState) -> Iterator[Item]:
    match event:
        case ev.LeaseRequested():
            for name, subtask in after.subtasks.items():
                lease = subtask.lease
                if lease is not None and lease.token == event.token:
                    wait_ms = lease.granted_ms - (subtask.ready_ms or lease.granted_ms)
                    yield (
                        "leased",
                        {
                            "subtask": name,
                            "provider": lease.provider,
                            "attempt": subtask.attempt,
                            "wait_ms": wait_ms,
                        },
                    )
        case ev.ChunkAccepted():
            lease = before.subtasks[event.subtask].lease
            if lease is not None:
                yield (
                    "chunk",
                    {
                        "subtask": event.subtask,
                        "provider": lease.provider,
                        "accepted_bytes": event.accepted_bytes,
                        "total_bytes": lease.total_bytes,
                        "voucher_total": str(after.providers[lease.provider].promised),
                    },
                )
        case ev.AttestationReceived():
            facts = done_facts(after.subtasks[event.subtask])
            total = str(after.providers[facts["provider"]].promised)
            yield "subtask_done", {**facts, "voucher_total": total}
        case ev.SubtaskFailed():
            lease = before.subtasks[event.subtask].lease
            yield (
                "subtask_failed",
                {
                    "subtask": event.subtask,
                    "provider": lease.provider if lease else "",
                    "reason": event.reason,
                    "message": event.message,
                },
            )
        case ev.LeaseExpired():
            lease = before.subtasks[event.subtask].lease
            yield (
                "lease_expired",
                {
                    "subtask": event.subtask,
                    "provider": lease.provider if lease else "",
                },
            )
        case ev.TakeUpExpired():
            yield "provider_absent", {"provider": before.subtasks[event.subtask].assignee}


def _of_tender(before: JobState, after: JobState) -> Iterator[Item]:
    tender = after.tender
    if tender is None or tender.phase is not TenderPhase.CALLING:
        return
    if before.tender is not None and before.tender.round == tender.round:
        return
    if tender.round > 0:
        yield "retendered", {"round": tender.round, "subtasks": list(tender.subtasks)}
    yield "call_published", {"round": tender.round, "closes_at_ms": tender.closes_ms}


def _of_end(before: JobState, after: JobState) -> Iterator[Item]:
    if before.phase in {Phase.REFUNDING, Phase.ENDED}:
        return
    if after.phase not in {Phase.REFUNDING, Phase.ENDED}:
        return
    reason = after.reason
    code, hint = (reason.code, reason.hint) if reason else ("", "")
    match after.outcome:
        case Outcome.DELIVERED:
            yield "delivered", {"video": after.video, "receipt": after.receipt}
        case Outcome.CANCELLED:
            yield "job_cancelled", {"reason": hint or code}
        case _:
            yield "job_failed", {"reason": code, "hint": hint}


def done_facts(subtask: Subtask) -> dict[str, Any]:
    """A finished subtask's line."""
    done = subtask.done
    assert done is not None
    return {
        "subtask": subtask.item.id,
        "provider": done.provider,
        "price": str(done.price),
        "wait_ms": done.leased_ms - done.ready_ms,
        "run_ms": done.attestation.finished_at_ms - done.attestation.started_at_ms,
        "output_bytes": sum(output.size for output in done.outputs.values()),
    }


def _planned(subtask: Subtask) -> dict[str, Any]:
    item = subtask.item
    return {
        "id": item.id,
        "stage": item.stage,
        **({"model": item.model} if item.model else {}),
        "units": item.units,
        "memory_mb": item.memory_mb,
        "inputs": list(item.needs),
    }


def _bid(event: ev.BidReceived) -> dict[str, Any]:
    stages = [
        {
            "stage": offering(line.stage, line.model),
            "price_per_unit": str(line.price_per_unit),
            "seconds_per_unit": line.seconds_per_unit,
        }
        for line in event.offer.stages
    ]
    return {"provider": event.offer.provider, "stages": stages}


def _cleared(event: ev.Cleared) -> dict[str, Any]:
    awards = [
        {"subtask": p.subtask, "provider": p.provider, "price": str(p.price)}
        for p in event.placements
    ]
    losses = [
        {
            "provider": loss.provider,
            "subtask": loss.subtask,
            "reason": loss.reason,
            "winning_price": str(loss.winning_price),
        }
        for loss in event.losses[:_MOST_LOSSES]
    ]
    unplaced = dict(event.unplaced)
    return {"round": event.round, "awards": awards, "losses": losses, "unplaced": unplaced}
