"""A receipt proves what it says, and nothing in it can be changed unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from eth_utils.crypto import keccak
from receipt_world import Finished, Play, key

from reelmesh.node.receipt.model import section_digests, signed_bytes
from reelmesh.node.receipt.verify import verify
from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.sources import Picture
from reelmesh.scheduler.spec import ImageToVideo


@pytest.fixture(scope="module")
def finished() -> Finished:
    return Play().finish()


def names(data: bytes) -> set[str]:
    return {check.name for check in verify(data).wrong}


def resigned(data: bytes, change: Callable[[dict[str, Any]], None], signer: str) -> bytes:
    """The receipt with a change, made and signed anew: only what it says can be wrong."""
    document = json.loads(data)
    change(document)
    document["sections"] = section_digests(document)
    signature = key(signer).sign_digest(bytes(keccak(signed_bytes(document))))
    document["signature"] = "0x" + signature.hex()
    return canonical(document)


def test_a_true_receipt_holds_and_says_what_was_not_checked(finished: Finished) -> None:
    report = verify(finished.receipt())
    assert report.ok, report.wrong
    unchecked = {check.name for check in report.checks if check.ok is None}
    assert "chain.settlement" in unchecked
    assert "audits" in unchecked
    assert sum(check.ok is True for check in report.checks) > 100


def test_a_receipt_without_a_consent_holds(finished: Finished) -> None:
    report = verify(Play(consents=False).finish().receipt())
    assert report.ok, report.wrong


def test_building_twice_gives_the_same_bytes(finished: Finished) -> None:
    assert finished.receipt() == finished.receipt()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda d: d + b"\n", "file.canonical"),
        (lambda d: b" " + d, "file.canonical"),
        (lambda d: d.replace(b'":', b'": ', 1), "file.canonical"),
        (lambda d: d[:-1], "file.json"),
        (lambda d: b"", "file.json"),
        (lambda d: b"\xff" + d, "file.json"),
        (lambda d: d.replace(b"a red circle", b"a red square"), "section.spec"),
        (lambda d: d.replace(b'"gas":60000', b'"gas":60001'), "section.transactions"),
        (lambda d: d.replace(b'"version":1,"video"', b'"version":2,"video"'), "file.format"),
    ],
)
def test_a_changed_file_fails_where_it_was_changed(
    finished: Finished, spoil: Callable[[bytes], bytes], named: str
) -> None:
    data = finished.receipt()
    spoiled = spoil(data)
    assert spoiled != data
    assert named in names(spoiled)


def _more_pay(document: dict[str, Any]) -> None:
    document["payments"][0]["total"] = str(int(document["payments"][0]["total"]) + 1)


def _less_refund(document: dict[str, Any]) -> None:
    document["ledger"]["refunded"] = str(int(document["ledger"]["refunded"]) - 1)


def _other_output(document: dict[str, Any]) -> None:
    output = next(iter(document["work"][3]["outputs"].values()))
    output["sha256"] = "ab" * 32


def _other_provider(document: dict[str, Any]) -> None:
    document["work"][0]["provider"] = document["work"][1]["provider"]


def _missing_work(document: dict[str, Any]) -> None:
    del document["work"][2]


def _higher_cap(document: dict[str, Any]) -> None:
    leaf = document["awards"]["leaves"][0]
    leaf["cap"] = str(int(leaf["cap"]) + 1)


def _other_spec(document: dict[str, Any]) -> None:
    document["spec"]["seed"] = 7


def _other_plan(document: dict[str, Any]) -> None:
    document["plan"]["subtasks"][0]["units"] = 2


def _other_video(document: dict[str, Any]) -> None:
    document["video"]["sha256"] = "cd" * 32


def _other_budget(document: dict[str, Any]) -> None:
    document["terms"]["budget"] = str(int(document["terms"]["budget"]) + 1)


def _stage_swapped(document: dict[str, Any]) -> None:
    document["work"][0]["attestation"]["stage"] = "skeleton"


@pytest.mark.parametrize(
    ("change", "start"),
    [
        (_more_pay, "payments."),
        (_less_refund, "ledger.sum"),
        (_other_output, "work."),
        (_other_provider, "work."),
        (_missing_work, "work.subtasks"),
        (_higher_cap, "awards.root"),
        (_other_spec, "spec.hash"),
        (_other_plan, "origin"),
        (_other_video, "video"),
        (_other_budget, "job_id"),
        (_stage_swapped, "work.encode_text.stage"),
    ],
)
def test_a_coordinator_that_lies_and_signs_is_found_out(
    finished: Finished, change: Callable[[dict[str, Any]], None], start: str
) -> None:
    lying = resigned(finished.receipt(), change, "coordinator")
    wrong = names(lying)
    assert any(name.startswith(start) for name in wrong), wrong
    assert "signature" not in wrong


def test_a_receipt_signed_by_another_key_fails(finished: Finished) -> None:
    assert names(resigned(finished.receipt(), lambda d: None, "mallory")) == {"signature"}


IMAGE = Picture.model_validate({"sha256": "ab" * 32, "size": 1000})
WITH_IMAGE = ImageToVideo(prompt="it moves", seconds=1.0, width=256, height=256, image=IMAGE)


def test_a_receipt_covers_what_the_buyer_brought() -> None:
    data = Play(spec=WITH_IMAGE).finish().receipt()
    report = verify(data)
    assert report.ok, report.wrong
    (work,) = [w for w in json.loads(data)["work"] if w["subtask"] == "encode_image"]
    assert work["inputs"] == {"image": "ab" * 32}

    def other_input(document: dict[str, Any]) -> None:
        found = next(w for w in document["work"] if w["subtask"] == "encode_image")
        found["inputs"]["image"] = "cd" * 32

    wrong = names(resigned(data, other_input, "coordinator"))
    assert {"work.encode_image.inputs", "work.encode_image.inputs_root"} <= wrong

    def other_source(document: dict[str, Any]) -> None:
        task = next(t for t in document["plan"]["subtasks"] if t["id"] == "encode_image")
        task["sources"][0]["sha256"] = "cd" * 32

    assert "plan.sources" in names(resigned(data, other_source, "coordinator"))
