"""A change of any one byte of a receipt, wherever it is, fails with a name."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from receipt_world import Play, similar_play

from reelmesh.node.receipt.verify import verify

DATA = Play().finish().receipt()
SIMILAR = similar_play().finish().receipt()
_REUSED = SIMILAR.index(b'"reused":')


def regions() -> list[tuple[str, int, int]]:
    """Each top-level field of the file with the bytes that it takes."""
    document = json.loads(DATA)
    starts = sorted((DATA.index(f'"{name}":'.encode()), name) for name in _top_level(document))
    ends = [start for start, _ in starts[1:]] + [len(DATA)]
    return [(name, start, end) for (start, name), end in zip(starts, ends, strict=True)]


def _top_level(document: dict[str, object]) -> list[str]:
    depth, inside, at, found = 0, False, 0, []
    while at < len(DATA):
        char = DATA[at : at + 1]
        if char == b'"' and not inside:
            end = DATA.index(b'"', at + 1)
            name = DATA[at + 1 : end].decode()
            if depth == 1 and DATA[end + 1 : end + 2] == b":" and name in document:
                found.append(name)
            at = end
        elif char in b"{[":
            depth += 1
        elif char in b"}]":
            depth -= 1
        at += 1
    return found


def spoiled(position: int, flip: int) -> bytes:
    data = bytearray(DATA)
    data[position] ^= flip
    return bytes(data)


def check(data: bytes) -> None:
    report = verify(data)
    assert not report.ok
    assert all(one.name and one.detail for one in report.wrong)


@pytest.mark.parametrize(("name", "start", "end"), regions(), ids=[r[0] for r in regions()])
def test_every_region(name: str, start: int, end: int) -> None:
    step = max(1, (end - start) // 10)
    for position in range(start, end, step):
        check(spoiled(position, 1))


def test_the_first_and_the_last_byte() -> None:
    check(spoiled(0, 1))
    check(spoiled(len(DATA) - 1, 1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_any_byte(position: int, flip: int) -> None:
    check(spoiled(position, flip))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(_REUSED, SIMILAR.index(b'"sections":')), st.integers(1, 255))
def test_any_byte_of_what_was_reused(position: int, flip: int) -> None:
    data = bytearray(SIMILAR)
    data[position] ^= flip
    check(bytes(data))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(DATA)), st.binary(min_size=1, max_size=3))
def test_an_insertion(position: int, extra: bytes) -> None:
    check(DATA[:position] + extra + DATA[position:])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 40))
def test_a_cut(position: int, length: int) -> None:
    check(DATA[:position] + DATA[position + length :])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_anything_else_is_no_receipt(data: bytes) -> None:
    check(data)
