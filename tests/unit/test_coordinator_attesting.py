"""When an attested run may have been: by clocks that differ a little, within the last week."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reelmesh.node.coordinator.attesting import BadAttestation, _check_times, _offered_hash
from reelmesh.node.coordinator.calling import agreed_hashes
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job.state import Lease

NOW = 1_800_000_000_000
DAY = 86_400_000
GRANTED = NOW - 5_000
LEASE = Lease(
    provider=NodeAddress("0x" + "11" * 20),
    token="00" * 16,
    price=Wei(1),
    granted_ms=GRANTED,
    renewed_until_ms=NOW + 1_000,
    run_until_ms=NOW + 60_000,
    expected_ms=1_000,
)


def run(started_ms: int, finished_ms: int) -> work_pb2.SignedAttestation:
    return work_pb2.SignedAttestation(started_at_ms=started_ms, finished_at_ms=finished_ms)


@pytest.mark.parametrize(
    ("started_ms", "finished_ms"),
    [
        (NOW - 10, NOW),
        (NOW, NOW),
        (NOW, NOW + 60_000),
        (GRANTED - DAY, GRANTED - DAY + 10),
        (GRANTED - 7 * DAY, NOW),
    ],
)
def test_a_run_of_these_days_is_believed(started_ms: int, finished_ms: int) -> None:
    _check_times(run(started_ms, finished_ms), LEASE, NOW)


@pytest.mark.parametrize(
    ("started_ms", "finished_ms"),
    [
        (NOW, NOW - 1),
        (NOW, NOW + 60_001),
        (NOW + DAY, NOW + DAY + 10),
        (GRANTED - 7 * DAY - 1, NOW),
        (0, NOW),
    ],
)
def test_a_run_of_another_time_is_refused(started_ms: int, finished_ms: int) -> None:
    with pytest.raises(BadAttestation) as caught:
        _check_times(run(started_ms, finished_ms), LEASE, NOW)
    assert caught.value.reason == "wrong_times"
    assert "\n" not in caught.value.message


def line(digest: str, model: str = "wan-t2v") -> SimpleNamespace:
    return SimpleNamespace(stage="denoise", model=model, model_hash=digest)


def state(*hashes: str, made: str = "") -> Any:
    """Bidders 0, 1, … with these hashes of one model; `made`: what a subtask was made with."""
    attested = SimpleNamespace(attestation=SimpleNamespace(model_hash="0x" + made))
    item = SimpleNamespace(stage="denoise", model="wan-t2v")
    return SimpleNamespace(
        offers={
            LEASE.provider if i == 0 else str(i): SimpleNamespace(stages=(line(digest),))
            for i, digest in enumerate(hashes)
        },
        subtasks={"denoise-0": SimpleNamespace(item=item, done=attested if made else None)},
    )


def test_a_production_models_hash_must_be_the_one_that_was_bid() -> None:
    signed = work_pb2.SignedAttestation(model_hash=b"\x22" * 32)
    name = SubtaskId("denoise-0")
    assert _offered_hash(state("11" * 32), name, LEASE, signed) == b"\x11" * 32
    embedded = state("11" * 32)
    embedded.subtasks[name].item.model = ""
    assert _offered_hash(embedded, name, LEASE, signed) == signed.model_hash


def test_a_job_is_made_with_the_files_that_most_have_or_that_it_was_begun_with() -> None:
    bids = state("bb", "aa", "bb")
    assert agreed_hashes(bids, bids.offers) == {"wan-t2v": "bb"}
    tied = state("bb", "aa")
    assert agreed_hashes(tied, tied.offers) == {"wan-t2v": "aa"}
    begun = state("bb", "bb", "aa", made="aa")
    assert agreed_hashes(begun, begun.offers) == {"wan-t2v": "aa"}
