"""The small parts of a coordinator: kept ports, checked requests, headroom, what is shown."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from receipt_world import Play

from reelmesh.errors import UserError
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.coordinator.ports import load_ports, save_ports
from reelmesh.node.coordinator.submitting import first_reserves, limits_for, parse_request
from reelmesh.node.coordinator.views import job_page, state_word
from reelmesh.scheduler.cost import BudgetTooLow, least_budget
from reelmesh.scheduler.ids import Wei
from reelmesh.scheduler.spec import TextToVideo
from reelmesh.scheduler.templates import make_plan


def config(home: Path, **changes: Any) -> CoordinatorConfig:
    fields: dict[str, Any] = {"home": home, "chain_id": 31337, "deployment": home / "d.json"}
    return CoordinatorConfig(**{**fields, **changes})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_last_runs_ports_are_taken_again(tmp_path: Path) -> None:
    a, b = free_port(), free_port()
    save_ports(config(tmp_path), [f"/ip4/127.0.0.1/tcp/{a}/p2p/16Uiu2"], f"127.0.0.1:{b}")
    ports = load_ports(config(tmp_path))
    assert ports.listen == (f"/ip4/127.0.0.1/tcp/{a}",)
    assert ports.grpc == b


def test_a_port_that_was_taken_meanwhile_is_let_go(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        save_ports(config(tmp_path), [f"/ip4/127.0.0.1/tcp/{port}"], f"127.0.0.1:{port}")
        ports = load_ports(config(tmp_path))
    assert ports.listen == ("/ip4/127.0.0.1/tcp/0",)
    assert ports.grpc == 0


def test_a_configured_port_comes_first(tmp_path: Path) -> None:
    save_ports(config(tmp_path), ["/ip4/127.0.0.1/tcp/4001"], "127.0.0.1:4002")
    fixed = config(tmp_path, grpc_port=9, listen=("/ip4/0.0.0.0/tcp/5001",))
    assert load_ports(fixed).grpc == 9
    assert load_ports(fixed).listen == ("/ip4/0.0.0.0/tcp/5001",)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"grpc": "x", "listen": 3}'])
def test_a_damaged_ports_file_is_no_obstacle(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    assert load_ports(config(tmp_path)).grpc == 0


PLAN = make_plan(TextToVideo(prompt="a red circle", seconds=1.0))


def test_half_of_a_generous_budget_is_kept_for_work_that_must_be_done_again(
    tmp_path: Path,
) -> None:
    least = least_budget(PLAN)
    generous = first_reserves(config(tmp_path), PLAN, Wei(10 * least))
    assert 4 * least < sum(generous.values()) <= 5 * least


def test_the_least_budget_is_offered_whole_and_less_is_refused(tmp_path: Path) -> None:
    least = least_budget(PLAN)
    assert sum(first_reserves(config(tmp_path), PLAN, least).values()) == least
    with pytest.raises(BudgetTooLow) as caught:
        first_reserves(config(tmp_path), PLAN, Wei(least - 1))
    assert caught.value.least == least


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": "1.5"},
        {"budget": ""},
        {"budget": "-1"},
        {"budget": str(2**128)},
        {"deadline_s": 59},
        {"deadline_s": 10**8},
        {"out_dir": "relative"},
        {"name": "../up"},
        {"name": ""},
        {"request_id": "a b"},
        {"spec_json": "{}"},
        {"spec_json": "nonsense"},
    ],
)
def test_a_request_that_cannot_be_taken_says_so(tmp_path: Path, changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "spec_json": TextToVideo(prompt="a red circle").canonical().decode(),
        "budget": str(10**18),
        "deadline_s": 600,
        "out_dir": "/tmp",
        "name": "clip",
        "request_id": "",
    }
    assert parse_request(**good).budget == 10**18
    with pytest.raises(UserError) as caught:
        parse_request(**{**good, **changes})
    assert "\n" not in caught.value.message


def test_a_short_deadline_leaves_time_to_settle(tmp_path: Path) -> None:
    assert limits_for(config(tmp_path), 60).settle_margin_ms == 6_000
    assert limits_for(config(tmp_path), 86_400).settle_margin_ms == 20_000


def test_a_job_is_shown_with_money_as_text() -> None:
    done = Play().finish()
    page = json.loads(json.dumps(job_page(done.record, done.state)))
    assert page["state"] == state_word(done.state) == "delivered"
    assert sum(int(wei) for wei in page["paid"].values()) == int(page["paid_in_all"])
    parts = ("paid_in_all", "refunded", "locked")
    assert sum(int(page[part]) for part in parts) == int(page["escrowed"])
    assert [tx["what"] for tx in page["transactions"]] == ["post", "award", "settle"]
    assert all(s["run_ms"] == 5 for s in page["subtasks"])
