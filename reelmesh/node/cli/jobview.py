"""Folds a job's events into what a watcher wants to know now. Pure: no clock, no terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class SubtaskView:
    """A subtask as it stands. `state`: waiting, won, leased, running, sending, done or failed."""

    id: str
    stage: str
    state: str = "waiting"
    provider: str = ""
    price: int = 0
    fraction: float = 0.0
    note: str = ""
    attempt: int = 0
    run_ms: int = 0


@dataclass
class JobView:
    """A job as it stands after the events seen so far."""

    job_id: str
    state: str = "posting"
    subtasks: dict[str, SubtaskView] = field(default_factory=dict)
    bidders: dict[str, int] = field(default_factory=dict)
    vouchers: dict[str, int] = field(default_factory=dict)
    transactions: list[tuple[str, str, int]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    budget: int = 0
    awarded: int = 0
    paid: dict[str, int] = field(default_factory=dict)
    refunded: int = 0
    locked: int = 0
    video: str = ""
    preview: str = ""
    receipt: str = ""
    reason: str = ""
    hint: str = ""

    @property
    def over(self) -> bool:
        """Nothing more will happen."""
        return self.state in {"delivered", "failed", "cancelled"}

    @property
    def done(self) -> int:
        """How many subtasks are finished."""
        return sum(task.state == "done" for task in self.subtasks.values())

    def apply(self, kind: str, data: dict[str, Any]) -> None:
        """Take in one event; an unknown kind (of a newer node) changes nothing."""
        handler = getattr(self, f"_on_{kind}", None)
        if handler is not None:
            handler(data)

    def _on_job_posted(self, data: dict[str, Any]) -> None:
        self.state, self.budget = "posted", int(data["budget"])
        self._tx("post", data)

    def _on_planned(self, data: dict[str, Any]) -> None:
        for told in data["subtasks"]:
            self.subtasks.setdefault(told["id"], SubtaskView(told["id"], told["stage"]))

    def _on_call_published(self, _data: dict[str, Any]) -> None:
        self.state = "taking bids"

    def _on_bid_received(self, data: dict[str, Any]) -> None:
        self.bidders[data["provider"]] = len(data["stages"])

    def _on_cleared(self, data: dict[str, Any]) -> None:
        for won in data["awards"]:
            task = self._task(won["subtask"])
            task.provider, task.price, task.state = won["provider"], int(won["price"]), "won"
        self.losses += data.get("losses", [])

    def _on_award_committed(self, data: dict[str, Any]) -> None:
        self.state, self.awarded = "working", int(data["sum"])
        self._tx("award", data)

    def _on_leased(self, data: dict[str, Any]) -> None:
        task = self._task(data["subtask"])
        task.provider, task.attempt = data["provider"], int(data["attempt"])
        task.state, task.fraction = "leased", 0.0

    def _on_progress(self, data: dict[str, Any]) -> None:
        task = self._task(data["subtask"])
        task.state = "running"
        task.fraction, task.note = float(data["fraction"]), str(data.get("note", ""))

    def _on_chunk(self, data: dict[str, Any]) -> None:
        task = self._task(data["subtask"])
        task.state = "sending"
        total = max(1, int(data.get("total_bytes", 1)))
        task.fraction = min(1.0, int(data["accepted_bytes"]) / total)
        self._voucher(data["provider"], data["voucher_total"])

    def _on_subtask_done(self, data: dict[str, Any]) -> None:
        task = self._task(data["subtask"])
        task.state, task.fraction, task.provider = "done", 1.0, data["provider"]
        task.price, task.run_ms = int(data["price"]), int(data["run_ms"])
        if "voucher_total" in data:
            self._voucher(data["provider"], data["voucher_total"])

    def _on_subtask_failed(self, data: dict[str, Any]) -> None:
        task = self._task(data["subtask"])
        task.state, task.note = "failed", str(data["reason"])

    def _on_lease_expired(self, data: dict[str, Any]) -> None:
        self._task(data["subtask"]).state = "waiting"

    def _on_provider_absent(self, data: dict[str, Any]) -> None:
        for task in self.subtasks.values():
            if task.provider == data["provider"] and task.state in {"won", "leased"}:
                task.state = "waiting"

    def _on_retendered(self, data: dict[str, Any]) -> None:
        for name in data["subtasks"]:
            self._task(name).state = "waiting"

    def _on_settled(self, data: dict[str, Any]) -> None:
        self.state = "settled"
        self.paid = {who: int(wei) for who, wei in data["paid"].items()}
        self.refunded, self.locked = int(data["refunded"]), int(data["locked"])
        self._tx("settle", data)

    def _on_refunded(self, data: dict[str, Any]) -> None:
        self.refunded += int(data["amount"])
        self._tx("refund", data)

    def _on_delivered(self, data: dict[str, Any]) -> None:
        self.state, self.video, self.receipt = "delivered", data["video"], data["receipt"]

    def _on_preview(self, data: dict[str, Any]) -> None:
        self.preview = data["video"]

    def _on_job_failed(self, data: dict[str, Any]) -> None:
        self.state, self.reason, self.hint = "failed", data["reason"], data.get("hint", "")

    def _on_job_cancelled(self, data: dict[str, Any]) -> None:
        self.state, self.reason = "cancelled", data.get("reason", "")

    def _task(self, name: str) -> SubtaskView:
        return self.subtasks.setdefault(name, SubtaskView(name, name.rpartition("-")[0] or name))

    def _voucher(self, provider: str, total: Any) -> None:
        self.vouchers[provider] = max(self.vouchers.get(provider, 0), int(total))

    def _tx(self, what: str, data: dict[str, Any]) -> None:
        if data.get("tx"):
            self.transactions.append((what, str(data["tx"]), int(data.get("gas", 0))))
