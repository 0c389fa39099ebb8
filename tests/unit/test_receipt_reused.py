"""A receipt says whose clip it goes on from, and nothing of that can be said falsely."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from eth_utils.crypto import keccak
from receipt_world import EARLIER, LATER, SPEC, Play, key, record_with_clip_of, similar_play

from reelmesh.node.coordinator.records import JobRecord
from reelmesh.node.receipt.model import section_digests, signed_bytes
from reelmesh.node.receipt.verify import verify
from reelmesh.scheduler.canonical import canonical

SIMILAR = similar_play().finish().receipt()


def resigned(change: Callable[[dict[str, Any]], None]) -> set[str]:
    """What is wrong with the receipt with a change, made and signed anew by the coordinator."""
    document = json.loads(SIMILAR)
    change(document)
    document["sections"] = section_digests(document)
    signature = key("coordinator").sign_digest(bytes(keccak(signed_bytes(document))))
    document["signature"] = "0x" + signature.hex()
    return {check.name for check in verify(canonical(document)).wrong}


def test_a_receipt_of_a_similar_prompts_clip_says_so_and_holds() -> None:
    report = verify(SIMILAR)
    assert report.ok, report.wrong
    checks = {check.name: check for check in report.checks}
    for name in ("", ".clip", ".words"):
        assert checks[f"reused.similar{name}"].ok is True
    assert checks["reused.interpolate.key"].ok is True
    (one,) = json.loads(SIMILAR)["reused"]
    assert one["similar"] == {"prompt": EARLIER, "distance": 0.31}


def test_a_receipt_of_the_same_work_says_nothing_of_prompts() -> None:
    earlier = Play().finish()
    spec = SPEC.model_copy(update={"width": 320})
    data = Play(record=record_with_clip_of(earlier, spec)).finish().receipt()
    report = verify(data)
    assert report.ok, report.wrong
    assert "similar" not in json.loads(data)["reused"][0]
    assert not [check for check in report.checks if "similar" in check.name]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"similar": {"prompt": LATER, "distance": 0.31}}, "reused.interpolate.key"),
        ({"similar": {"prompt": "a big red ball", "distance": 0.1}}, "reused.interpolate.key"),
        ({"similar": {"prompt": EARLIER, "distance": 0.41}}, "reused.similar"),
        ({"similar": {"prompt": EARLIER, "distance": 2.5}}, "file.format"),
        ({"similar": {"prompt": EARLIER}}, "file.format"),
        ({"similar": None}, "reused.interpolate.key"),
        ({"key": "ab" * 32}, "reused.interpolate.key"),
        ({"provider": "0x" + "11" * 20}, "reused.interpolate.attested"),
    ],
)
def test_what_is_said_falsely_is_found(change: dict[str, Any], wrong: str) -> None:
    assert wrong in resigned(lambda document: document["reused"][0].update(change))


def test_a_clip_of_another_prompt_and_one_of_its_own_in_one_video_are_found() -> None:
    mixed = similar_play("upscale-0")  # upscale-1 is then made of the job's own clip
    assert "reused.similar.clip" in {check.name for check in verify(mixed.finish().receipt()).wrong}


def test_a_record_of_before_says_what_it_said() -> None:
    record = similar_play().record
    written = json.loads(record.model_dump_json())
    assert written["reused"][0].pop("similar") == {"prompt": EARLIER, "distance": 0.31}
    read = JobRecord.model_validate_json(json.dumps(written))
    assert read.similar is None
    assert "similar" not in json.loads(read.model_dump_json())["reused"][0]
