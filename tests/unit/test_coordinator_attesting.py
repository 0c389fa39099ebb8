"""When an attested run may have been: by clocks that differ a little, within the last week."""

from __future__ import annotations

import pytest

from reelmesh.node.coordinator.attesting import BadAttestation, _check_times
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import NodeAddress, Wei
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
