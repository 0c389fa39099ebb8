"""Which clips are candidates, and what becomes of a comparison that fails."""

from __future__ import annotations

import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reelmesh.node.coordinator import resembling
from reelmesh.node.coordinator.resembling import CannotCompare, compare
from reelmesh.node.stages.compare_prompts import distances
from reelmesh.node.storage.db import open_database
from reelmesh.node.storage.journal import Journal
from reelmesh.node.storage.reuse_index import ClipRow, KeptRow, ReuseIndex

SPACE = "here"


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[ReuseIndex]:
    journal = Journal(await open_database(f"sqlite:///{tmp_path}/c.db"))
    await journal.open()
    yield ReuseIndex(journal)
    await journal.close()


def row(number: int, used_ms: int, size: int = 10) -> KeptRow:
    return KeptRow(f"{number:064x}", f"{number:064x}", size, "{}", used_ms)


def clip(number: int, loop: str = "ab" * 32, seed: int = 3) -> ClipRow:
    return ClipRow(f"{number:064x}", loop, f"prompt {number}", seed)


async def prompts(index: ReuseIndex, seed: int | None = 3, most: int = 10) -> list[str]:
    return [found.prompt for found in await index.clips(SPACE, "ab" * 32, seed, most)]


async def test_candidates_are_of_one_space_loop_and_seed_the_latest_used_first(
    index: ReuseIndex,
) -> None:
    for number, used_ms in ((1, 10), (2, 30), (3, 20)):
        await index.put(SPACE, row(number, used_ms), 1000, clip(number))
    await index.put(SPACE, row(4, 90), 1000, clip(4, loop="cd" * 32))
    await index.put(SPACE, row(5, 40), 1000, clip(5, seed=4))
    await index.put("there", row(6, 90), 1000, clip(6))
    await index.put(SPACE, row(7, 90), 1000)
    assert await prompts(index) == ["prompt 2", "prompt 3", "prompt 1"]
    assert await prompts(index, seed=None) == ["prompt 5", "prompt 2", "prompt 3", "prompt 1"]
    assert await prompts(index, most=1) == ["prompt 2"]
    await index.touch(SPACE, [row(1, 0).key], 50)
    assert await prompts(index, most=1) == ["prompt 1"]


async def test_a_clips_prompt_goes_with_its_result(index: ReuseIndex) -> None:
    for number in (1, 2, 3):
        await index.put(SPACE, row(number, number), 1000, clip(number))
    await index.put(SPACE, row(2, 9), 1000, clip(2))  # made again
    assert await prompts(index) == ["prompt 2", "prompt 3", "prompt 1"]
    await index.forget(SPACE, [row(3, 0).key])
    assert await prompts(index) == ["prompt 2", "prompt 1"]
    await index.put(SPACE, row(4, 10, size=990), 1000)  # makes room for itself
    assert await prompts(index) == ["prompt 2"]


def program(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exit 3", "could not be compared"),
        ("echo no", "could not be compared"),
        ("echo '[]'", "could not be compared"),
        ("echo '{}'", "could not be compared"),
        ("""echo '{"distances": ["near"]}'""", "could not be compared"),
        ("""echo '{"distances": []}'""", "short"),
        ("""echo '{"error": "the weights are damaged", "hint": "run: make setup"}'""", "damaged"),
        ("exec sleep 60", "could not be compared"),
    ],
)
async def test_a_comparison_that_fails_has_an_end_and_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.setattr(resembling.sys, "executable", program(tmp_path, text))
    monkeypatch.setattr(resembling, "_COMPARE_S", 2.0)
    began = time.monotonic()
    with pytest.raises(CannotCompare, match=told) as caught:
        await compare("a red ball", ["a red sphere"])
    assert caught.value.hint
    assert time.monotonic() - began < 10


def test_the_same_prompt_is_at_no_distance_and_another_colour_is_far() -> None:
    same, other = distances("a big red ball", ["a big red ball", "a big green ball"])
    assert same == 0
    assert other > 0.4
