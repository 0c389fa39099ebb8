"""The closing account of a job: who did what for how much, the chain's gas, where coins went."""

from __future__ import annotations

from typing import Any

from reelmesh.node.cli.lines import Lines, short, taken_from
from reelmesh.node.cli.money import format_eth
from reelmesh.node.cli.output import table


def print_report(job: dict[str, Any], names: dict[str, str] | None = None) -> None:
    """Print the tables of a finished (or running) job.

    Args:
        job: What the Control service's ShowJob tells.
        names: Provider address to the name it is shown by.
    """
    lines = Lines(names)
    rows = [_reused(told) for told in job.get("reused", [])]
    rows += [_subtask(told, lines) for told in job.get("subtasks", [])]
    table("Subtasks", ["subtask", "provider", ">price", ">wait", ">run", "state"], rows)
    if job.get("similar"):
        print(f"  {taken_from(job['similar'])}")
    transactions = job.get("transactions", [])
    if transactions:
        rows = [[t["what"], str(t["tx"]), f"{int(t['gas']):,}"] for t in transactions]
        rows.append(["in all", "", f"{sum(int(t['gas']) for t in transactions):,}"])
        table("Transactions", ["what", "transaction", ">gas"], rows)
    table("Money", ["", ">amount"], money_rows(job, lines))


def money_rows(job: dict[str, Any], lines: Lines) -> list[list[str]]:
    """Return where every coin of the escrow went, exactly.

    Payments, refunded and locked add up to what was escrowed.
    """
    rows = [["escrowed", format_eth(job.get("escrowed") or 0, exact=True)]]
    rows += [
        [f"paid to {lines.who(who)}", format_eth(wei, exact=True)]
        for who, wei in (job.get("paid") or {}).items()
    ]
    rows.append(["refunded", format_eth(job.get("refunded") or 0, exact=True)])
    if int(job.get("locked") or 0):
        rows.append(["locked until claims end", format_eth(job["locked"], exact=True)])
    return rows


def _subtask(told: dict[str, Any], lines: Lines) -> list[str]:
    price = format_eth(told["price"]) if told.get("price") else ""
    again = f" (attempt {told['attempts']})" if int(told.get("attempts") or 0) > 1 else ""
    provider = lines.who(told["provider"]) if told.get("provider") else ""
    wait, run = _seconds(told.get("wait_ms")), _seconds(told.get("run_ms"))
    return [told["id"], provider, price, wait, run, f"{told['state']}{again}"]


def _reused(told: dict[str, Any]) -> list[str]:
    made = told.get("job_id")
    state = f"reused from job {short(made)}" if made else "not needed"
    return [told["subtask"], "", "nothing", "", "", state]


def _seconds(ms: Any) -> str:
    return "" if ms is None else f"{int(ms) / 1000:.1f} s"
