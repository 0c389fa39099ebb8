"""A job's events as lines that a person reads, one for each event that says something new."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reelmesh.node.cli.money import format_eth
from reelmesh.node.cli.output import shown_path


def short(address: str) -> str:
    """Return an address or id as 0x1234…abcd."""
    return f"{address[:6]}…{address[-4:]}" if len(address) > 12 else address


def explain(reason: str) -> str:
    """Return a reason code with its meaning, where it is one of the auction's."""
    from reelmesh.scheduler.clearing import EXPLAIN, LossReason

    try:
        return f"{reason}: {EXPLAIN[LossReason(reason)]}"
    except (ValueError, KeyError):
        return reason


def taken_from(similar: dict[str, Any]) -> str:
    """Say whose clip it is, where it was made for another prompt."""
    return f"taken from a similar prompt: “{similar['prompt']}”, likeness {similar['likeness']:.2f}"


class Lines:
    """Turns events into lines. Knows providers by the names given, else by their addresses.

    Progress is told at every quarter of a subtask, vouchers at every completed subtask: a log must
    not drown in them.
    """

    def __init__(self, names: dict[str, str] | None = None) -> None:
        self._names = {address.lower(): name for address, name in (names or {}).items()}
        self._told: dict[str, int] = defaultdict(int)
        self._stages: dict[str, str] = {}
        self._handlers: dict[str, Callable[[dict[str, Any]], list[str]]] = {
            "job_posted": self._posted,
            "reused": self._reused,
            "planned": self._planned,
            "preview": self._preview,
            "call_published": self._call,
            "bid_received": self._bid,
            "bid_refused": self._bid_refused,
            "cleared": self._cleared,
            "award_committed": self._committed,
            "leased": self._leased,
            "progress": self._progress,
            "subtask_done": self._done,
            "subtask_failed": self._failed,
            "lease_expired": self._expired,
            "provider_absent": self._absent,
            "retendered": self._retendered,
            "consent": self._consent,
            "settled": self._settled,
            "refunded": self._refunded,
            "delivered": self._delivered,
            "job_failed": self._job_failed,
            "job_cancelled": self._job_cancelled,
        }

    def of(self, kind: str, data: dict[str, Any]) -> list[str]:
        """Return the lines that an event is worth; none for one that says nothing new."""
        handler = self._handlers.get(kind)
        return handler(data) if handler else []

    def who(self, address: str) -> str:
        """Return a provider's name, or its shortened address."""
        return self._names.get(address.lower(), short(address))

    def _posted(self, data: dict[str, Any]) -> list[str]:
        locked = format_eth(data["budget"])
        return [f"escrow    {locked} locked on chain, tx {short(data['tx'])}, gas {data['gas']:,}"]

    def _planned(self, data: dict[str, Any]) -> list[str]:
        self._stages = {told["id"]: told["stage"] for told in data["subtasks"]}
        counts = Counter(self._stages.values())
        parts = ", ".join(f"{n} x {stage}" if n > 1 else stage for stage, n in counts.items())
        return [f"plan      {len(self._stages)} subtasks: {parts}"]

    def _reused(self, data: dict[str, Any]) -> list[str]:
        left_out = [told["subtask"] for told in data["subtasks"]]
        lines = [f"reused    {_grouped(left_out)} from your earlier jobs, at no cost"]
        if data.get("similar"):
            lines.append(f"similar   {taken_from(data['similar'])}")
        return lines

    def _preview(self, data: dict[str, Any]) -> list[str]:
        return [f"preview   {shown_path(Path(data['video']))} shows what is coming"]

    def _call(self, data: dict[str, Any]) -> list[str]:
        again = f", round {data['round'] + 1}" if data.get("round") else ""
        return [f"call      open for bids{again}"]

    def _bid(self, data: dict[str, Any]) -> list[str]:
        name = self.who(data["provider"])
        lines = [f"bid       {name} offers {len(data['stages'])} stages"]
        for told in data["stages"]:
            price, speed = format_eth(told["price_per_unit"]), float(told["seconds_per_unit"])
            lines.append(f"            {told['stage']:<13} {price} and {speed:.3g} s a unit")
        return lines

    def _bid_refused(self, data: dict[str, Any]) -> list[str]:
        return [f"bid       refused from {self.who(data['provider'])}: {data['reason']}"]

    def _cleared(self, data: dict[str, Any]) -> list[str]:
        won: dict[str, list[str]] = defaultdict(list)
        sums: Counter[str] = Counter()
        for award in data["awards"]:
            won[award["provider"]].append(award["subtask"])
            sums[award["provider"]] += int(award["price"])
        lines = [
            f"won       {self.who(name)}: {_grouped(tasks)} for {format_eth(sums[name])}"
            for name, tasks in won.items()
        ]
        lost: Counter[tuple[str, str]] = Counter(
            (loss["provider"], loss["reason"]) for loss in data.get("losses", [])
        )
        lines += [
            f"lost      {self.who(name)}: {count} subtask{'s' if count > 1 else ''}, {explain(why)}"
            for (name, why), count in sorted(lost.items())
        ]
        unplaced = data.get("unplaced") or {}
        lines += [f"unplaced  {task}: {explain(str(why))}" for task, why in unplaced.items()]
        return lines

    def _committed(self, data: dict[str, Any]) -> list[str]:
        total = format_eth(data["sum"])
        return [f"award     {total} promised on chain, tx {short(data['tx'])}, gas {data['gas']:,}"]

    def _leased(self, data: dict[str, Any]) -> list[str]:
        again = f" (attempt {data['attempt']})" if int(data["attempt"]) > 1 else ""
        return [f"leased    {data['subtask']} to {self.who(data['provider'])}{again}"]

    def _progress(self, data: dict[str, Any]) -> list[str]:
        quarter = int(float(data["fraction"]) * 4)
        if not 0 < quarter < 4 or quarter <= self._told[data["subtask"]]:
            return []
        self._told[data["subtask"]] = quarter
        return [f"running   {data['subtask']} {quarter * 25}% on {self.who(data['provider'])}"]

    def _done(self, data: dict[str, Any]) -> list[str]:
        run = int(data["run_ms"]) / 1000
        name, price = self.who(data["provider"]), format_eth(data["price"])
        return [f"done      {data['subtask']} by {name} in {run:.1f} s, earned {price}"]

    def _failed(self, data: dict[str, Any]) -> list[str]:
        self._told.pop(data["subtask"], None)
        why = data.get("message") or data["reason"]
        return [f"failed    {data['subtask']} on {self.who(data['provider'])}: {why}"]

    def _expired(self, data: dict[str, Any]) -> list[str]:
        self._told.pop(data["subtask"], None)
        return [f"silent    {self.who(data['provider'])} stopped reporting on {data['subtask']}"]

    def _absent(self, data: dict[str, Any]) -> list[str]:
        return [f"absent    {self.who(data['provider'])} did not take up its work"]

    def _retendered(self, data: dict[str, Any]) -> list[str]:
        return [f"again     {_grouped(list(data['subtasks']))} offered to others"]

    def _consent(self, data: dict[str, Any]) -> list[str]:
        return [f"agreed    {self.who(data['provider'])} to {format_eth(data['total'])} in all"]

    def _settled(self, data: dict[str, Any]) -> list[str]:
        paid = sum(int(wei) for wei in data["paid"].values())
        back = f"{format_eth(data['refunded'])} refunded"
        kept = f", {format_eth(data['locked'])} locked" if int(data["locked"]) else ""
        gas = f"gas {int(data['gas']):,}"
        return [f"settled   {format_eth(paid)} paid, {back}{kept}, tx {short(data['tx'])}, {gas}"]

    def _refunded(self, data: dict[str, Any]) -> list[str]:
        return [f"refunded  {format_eth(data['amount'])} came back, tx {short(data['tx'])}"]

    def _delivered(self, data: dict[str, Any]) -> list[str]:
        return [f"delivered {shown_path(Path(data['video']))}"]

    def _job_failed(self, data: dict[str, Any]) -> list[str]:
        return [f"failed    the job: {data['reason']}"]

    def _job_cancelled(self, data: dict[str, Any]) -> list[str]:
        return [f"cancelled {data.get('reason', '')}".rstrip()]


def _grouped(tasks: list[str]) -> str:
    """Return "upscale-0..3, decode" for upscale-0, upscale-1, upscale-2, upscale-3, decode."""
    numbers: dict[str, list[int]] = defaultdict(list)
    plain = []
    for task in tasks:
        stem, _, tail = task.rpartition("-")
        if stem and tail.isdigit():
            numbers[stem].append(int(tail))
        else:
            plain.append(task)
    spans = [f"{stem}-{span}" for stem, found in numbers.items() for span in _spans(sorted(found))]
    return ", ".join([*plain, *spans])


def _spans(found: list[int]) -> list[str]:
    spans: list[tuple[int, int]] = []
    for number in found:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return [str(a) if a == b else f"{a}..{b}" for a, b in spans]
