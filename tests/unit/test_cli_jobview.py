from __future__ import annotations

from typing import Any

import pytest

from reelmesh.node.cli.jobview import JobView
from reelmesh.node.cli.lines import Lines, explain
from reelmesh.node.cli.report import print_report

ANN, BOB = "0x" + "a" * 40, "0x" + "b" * 40
STORY: list[tuple[str, dict[str, Any]]] = [
    ("job_posted", {"tx": "0x" + "1" * 64, "gas": 54000, "budget": "1000", "deadline_ms": 9}),
    (
        "planned",
        {
            "subtasks": [
                {"id": "decode", "stage": "decode"},
                {"id": "upscale-0", "stage": "upscale"},
                {"id": "upscale-1", "stage": "upscale"},
            ]
        },
    ),
    ("call_published", {"round": 0, "closes_at_ms": 5}),
    (
        "bid_received",
        {
            "provider": ANN,
            "stages": [{"stage": "upscale", "price_per_unit": "7", "seconds_per_unit": 0.5}],
        },
    ),
    (
        "cleared",
        {
            "round": 0,
            "awards": [
                {"subtask": "upscale-0", "provider": ANN, "price": "300"},
                {"subtask": "upscale-1", "provider": ANN, "price": "300"},
                {"subtask": "decode", "provider": BOB, "price": "10"},
            ],
            "losses": [
                {"subtask": "decode", "provider": ANN, "reason": "outbid", "winning_price": "10"}
            ],
            "unplaced": {},
        },
    ),
    ("award_committed", {"tx": "0x" + "2" * 64, "gas": 40000, "root": "0x", "sum": "610"}),
    ("leased", {"subtask": "upscale-0", "provider": ANN, "attempt": 1, "wait_ms": 3}),
    ("progress", {"subtask": "upscale-0", "provider": ANN, "fraction": 0.3, "note": ""}),
    (
        "chunk",
        {
            "subtask": "upscale-0",
            "provider": ANN,
            "accepted_bytes": 5,
            "total_bytes": 10,
            "voucher_total": "150",
        },
    ),
    (
        "subtask_done",
        {
            "subtask": "upscale-0",
            "provider": ANN,
            "price": "300",
            "wait_ms": 3,
            "run_ms": 1500,
            "output_bytes": 10,
        },
    ),
    (
        "settled",
        {
            "tx": "0x" + "3" * 64,
            "gas": 60000,
            "paid": {ANN: "300", BOB: "10"},
            "refunded": "690",
            "locked": "0",
        },
    ),
    ("delivered", {"video": "/o/demo.mp4", "receipt": "/o/demo.receipt.json"}),
]


def folded(until: int | None = None) -> JobView:
    view = JobView("0x1")
    for kind, data in STORY[:until]:
        view.apply(kind, data)
    return view


def test_a_whole_job_ends_delivered_with_every_coin_accounted_for() -> None:
    view = folded()
    assert view.over
    assert view.state == "delivered"
    assert sum(view.paid.values()) + view.refunded + view.locked == view.budget
    assert [what for what, _, _ in view.transactions] == ["post", "award", "settle"]
    assert view.video == "/o/demo.mp4"


def test_a_subtask_moves_from_won_to_done() -> None:
    seen = [folded(n).subtasks["upscale-0"].state for n in (2, 5, 7, 8, 9, 10)]
    assert seen == ["waiting", "won", "leased", "running", "sending", "done"]
    assert folded().done == 1


def test_a_lost_lease_puts_a_subtask_back() -> None:
    view = folded(8)
    view.apply("lease_expired", {"subtask": "upscale-0", "provider": ANN})
    assert view.subtasks["upscale-0"].state == "waiting"
    assert not view.over


def test_a_voucher_never_goes_down() -> None:
    view = folded(9)
    late = {**STORY[8][1], "voucher_total": "20"}
    view.apply("chunk", late)
    assert view.vouchers[ANN] == 150


def test_an_unknown_event_changes_nothing() -> None:
    view = folded()
    view.apply("from_a_newer_node", {"x": 1})
    assert view == folded()


def test_lines_say_who_won_what_and_why_others_lost() -> None:
    lines = Lines({ANN: "ann"})
    told = [line for kind, data in STORY for line in lines.of(kind, data)]
    text = "\n".join(told)
    assert "3 subtasks: decode, 2 x upscale" in text
    assert "ann: upscale-0..1 for 600 wei" in text
    assert explain("outbid") in text
    assert "0xbbbb…bbbb: decode" in text
    assert "690 wei refunded" in text


def test_progress_is_told_once_a_quarter() -> None:
    lines = Lines()
    told = [
        line
        for percent in range(0, 101, 5)
        for line in lines.of(
            "progress", {"subtask": "a", "provider": ANN, "fraction": percent / 100, "note": ""}
        )
    ]
    assert len(told) == 3


SIMILAR = {"prompt": "a big red ball", "likeness": 0.7}
REUSED = [{"subtask": "decode", "stage": "decode", "job_id": "0x" + "12" * 32}]


def test_whose_clip_was_taken_is_said_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    said = "taken from a similar prompt: “a big red ball”, likeness 0.70"
    data: dict[str, Any] = {"subtasks": REUSED, "similar": SIMILAR}
    reused, similar = Lines().of("reused", data)
    assert "decode from your earlier jobs" in reused
    assert similar.endswith(said)
    for told in (None, {}):  # nothing was, and a node of before this was told
        assert len(Lines().of("reused", {"subtasks": REUSED, "similar": told})) == 1
    print_report({"reused": REUSED, "similar": SIMILAR})
    assert said in capsys.readouterr().out
    print_report({"reused": REUSED})
    assert "similar" not in capsys.readouterr().out
