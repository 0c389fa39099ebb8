"""Canonical bytes, ids and money."""

from __future__ import annotations

import hashlib

import pytest

from reelmesh.scheduler import ids
from reelmesh.scheduler.canonical import NotCanonical, canonical, digest

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # from EIP-55


def test_the_example_of_rfc_8785() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert (
        canonical(value)
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


def test_integers_that_json_cannot_hold_are_decimal_strings() -> None:
    safe = 2**53 - 1
    assert canonical([safe, safe + 1, -safe, -safe - 1]) == (
        b'[9007199254740991,"9007199254740992",-9007199254740991,"-9007199254740992"]'
    )


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), 2.0**53, {1: 2}, {"a": b"x"}, {2.5}, "\ud800"]
)
def test_what_json_has_not_is_refused(bad: object) -> None:
    with pytest.raises(NotCanonical):
        canonical(bad)


def test_endless_nesting_is_refused() -> None:
    knot: list[object] = []
    knot.append(knot)
    with pytest.raises(NotCanonical, match="deep"):
        canonical(knot)


def test_digest_is_sha256_in_lower_hex() -> None:
    assert digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_addresses_take_their_checksummed_form() -> None:
    assert ids.node_address(ADDRESS.lower()) == ADDRESS
    assert ids.node_address(bytes.fromhex(ADDRESS[2:])) == ADDRESS
    assert ids.node_address(ADDRESS) == ADDRESS


@pytest.mark.parametrize(
    "bad", [ADDRESS.replace("5aA", "5AA"), ADDRESS[:-1], "0x" + "g" * 40, b"\0" * 19, ADDRESS[2:]]
)
def test_a_mistyped_address_is_refused(bad: str | bytes) -> None:
    with pytest.raises(ids.InvalidId):
        ids.node_address(bad)


def test_ids_have_one_form() -> None:
    job = "0x" + "ab" * 32
    assert ids.job_id(job) == job
    assert ids.subtask_id("encode_video-12") == "encode_video-12"
    assert ids.artifact_id("0" * 64) == "0" * 64
    for check, bad in (
        (ids.job_id, job.upper()),
        (ids.job_id, job + "\n"),
        (ids.subtask_id, "Upscale-1"),
        (ids.subtask_id, "upscale-1\n"),
        (ids.artifact_id, "F" * 64),
    ):
        with pytest.raises(ids.InvalidId):
            check(bad)


def test_a_subtask_key_binds_job_and_name() -> None:
    job = ids.JobId("0x" + "01" * 32)
    key = ids.subtask_key(job, ids.SubtaskId("decode"))
    assert key == hashlib.sha256(b"\x01" * 32 + b"decode").digest()


@pytest.mark.parametrize(
    ("wei", "text"),
    [(0, "0"), (1, "0.000000000000000001"), (10**18, "1"), (1500 * 10**12, "0.0015")],
)
def test_ether_is_exact(wei: int, text: str) -> None:
    assert ids.ether(wei) == text
