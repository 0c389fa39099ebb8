"""The worker's parts that need no process: messages, devices, memory, the book of rates."""

from __future__ import annotations

import asyncio
import errno
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from reelmesh.node.stages import StageCancelled, StageFailed
from reelmesh.node.stages.ncnn import BadWeights
from reelmesh.node.worker import Device, MeasuredRate, RateBook, clock, wire
from reelmesh.node.worker.device import NoSuchDevice, choose
from reelmesh.node.worker.memory import needed_mb, ran_out
from reelmesh.node.worker.runner import Runner
from reelmesh.scheduler.stages import InvalidParams

CPU = Device(kind="cpu", index=0, name="a", memory_mb=8000, device_class="cpu-avx2")
GPU = Device(kind="cuda", index=0, name="b", memory_mb=80000, device_class="cuda-sm90")


async def _read_all(data: bytes) -> list[wire.Message]:
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    found = []
    while (message := await wire.read(stream)) is not None:
        found.append(message)
    return found


async def test_messages_arrive_whole_and_in_order() -> None:
    messages: list[wire.Message] = [{"a": 1}, {"text": "é" * 1000}, {}]
    data = b"".join(wire.pack(message) for message in messages)
    assert await _read_all(data) == messages
    stream = io.BytesIO(data)
    assert [wire.read_blocking(stream) for _ in range(4)] == [*messages, None]


async def test_a_message_cut_off_is_the_end() -> None:
    assert await _read_all(wire.pack({"a": 1}) + wire.pack({"b": 2})[:-1]) == [{"a": 1}]


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\0\0\0\2no", b"\0\0\0\2[]", b"\0\0\0\4\xff\xfe\0\1"]
)
async def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(wire.BadMessage):
        await _read_all(data)


def test_too_long_a_message_is_not_sent() -> None:
    with pytest.raises(wire.BadMessage):
        wire.pack({"a": "x" * wire.MAX_MESSAGE})


def test_what_a_stage_prints_does_not_reach_the_messages() -> None:
    code = (
        "import os, sys\n"
        "from reelmesh.node.worker.main import _open_link\n"
        "link = _open_link()\n"
        "print('noise'); os.write(1, b'more noise')\n"
        "link.send({'a': 1})\n"
        "os._exit(0)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == wire.pack({"a": 1})
        assert b"more noise" in process.stderr.read()


def test_choosing_a_device() -> None:
    assert choose([GPU, CPU], "auto") is GPU
    assert choose([CPU], "auto") is CPU
    assert choose([GPU, CPU], "cpu") is CPU
    assert choose([GPU, CPU], "cuda:0") is GPU
    for wanted in ("cuda", "cuda:1", "tpu"):
        with pytest.raises(NoSuchDevice, match="there is: cpu"):
            choose([CPU], wanted)


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (MemoryError(), 101),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate "
                      "1073741824 bytes. Error code 12"), 1124),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"), 2660),
        (RuntimeError("std::bad_alloc"), 101),
    ],
)  # fmt: skip
def test_a_lack_of_memory_is_recognised(error: Exception, needed: int) -> None:
    assert ran_out(error)
    assert needed_mb(error, 100) == needed


def test_other_errors_are_not_a_lack_of_memory() -> None:
    assert not ran_out(RuntimeError("shapes do not match"))
    assert not ran_out(OSError("no such file"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (MemoryError(), "out_of_memory"),
        (StageCancelled("stop"), "cancelled"),
        (StageFailed("bad_input", "no"), "bad_input"),
        (InvalidParams("no"), "bad_params"),
        (BadWeights("no"), "not_installed"),
        (ZeroDivisionError("no"), "internal"),
    ],
)
def test_every_failure_has_a_reason(error: Exception, reason: str) -> None:
    def work() -> wire.Message:
        raise error

    answer = Runner(CPU).answer(work)
    assert (answer["type"], answer["reason"]) == ("failed", reason)
    assert answer["message"]


def test_work_is_timed_without_the_wait_for_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, now = tmp_path / "schedstat", [100.0]
    monkeypatch.setattr(clock, "_SCHEDULER", account)
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    account.write_text("1 2000000000 3\n")
    timed = clock.WorkClock()
    now[0] += 5
    assert timed.seconds() == pytest.approx(5)
    account.write_text("1 5000000000 3\n")
    assert timed.seconds() == pytest.approx(2)
    account.unlink()
    plain = clock.WorkClock()
    now[0] += 3
    assert plain.seconds() == pytest.approx(3)


@dataclass
class _Machine:
    """As much of a Worker as the book looks at."""

    device: Device
    threads: int = 1


RATE = MeasuredRate(stage="upscale", stage_version=1, seconds_per_unit=0.5, memory_mb=700)


def test_rates_are_kept_apart_by_machine_threads_and_model(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rates.json"
    RateBook(path).put(_Machine(CPU), RATE, "aa")  # type: ignore[arg-type]
    book = RateBook(path)

    def find(machine: _Machine, stage: str = "upscale", model: str = "aa") -> object:
        return book.find(machine, stage, model)  # type: ignore[arg-type]

    assert find(_Machine(CPU)) == RATE
    assert find(_Machine(CPU), model="bb") is None
    assert find(_Machine(CPU, threads=2)) is None
    assert find(_Machine(GPU)) is None
    assert find(_Machine(CPU), stage="decode") is None


def test_a_new_measurement_replaces_the_old_one(tmp_path: Path) -> None:
    book = RateBook(tmp_path / "rates.json")
    machine = _Machine(CPU)
    book.put(machine, RATE, "aa")  # type: ignore[arg-type]
    faster = RATE.model_copy(update={"seconds_per_unit": 0.25})
    book.put(machine, faster, "bb")  # type: ignore[arg-type]
    assert book.find(machine, "upscale", "aa") is None  # type: ignore[arg-type]
    assert book.find(machine, "upscale", "bb") == faster  # type: ignore[arg-type]


def test_a_rate_of_another_stage_version_is_not_used(tmp_path: Path) -> None:
    book = RateBook(tmp_path / "rates.json")
    old = RATE.model_copy(update={"stage_version": 99})
    book.put(_Machine(CPU), old, "aa")  # type: ignore[arg-type]
    assert book.find(_Machine(CPU), "upscale", "aa") is None  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '[{"device": 1}]', "\0"])
def test_a_damaged_book_is_kept_aside(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rates.json"
    path.write_text(content)
    book = RateBook(path)
    assert book.find(_Machine(CPU), "upscale", "aa") is None  # type: ignore[arg-type]
    if content != "{}":
        assert (tmp_path / "rates.json.damaged").read_text() == content
    book.put(_Machine(CPU), RATE, "aa")  # type: ignore[arg-type]
    assert RateBook(path).find(_Machine(CPU), "upscale", "aa") == RATE  # type: ignore[arg-type]
