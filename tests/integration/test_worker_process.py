"""A real worker process: results, cancellation, limits, crashes, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from reelmesh.node.stages.frames import read_frames, write_frames
from reelmesh.node.stages.media import MediaLimits
from reelmesh.node.worker import (
    RateBook,
    RunRequest,
    RunTimedOut,
    StageFailed,
    Worker,
    WorkerCrashed,
    WorkerOutOfMemory,
    WorkerStartFailed,
    detect_devices,
    measure_rates,
)


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with Worker("cpu", 1, tmp_path / "scratch") as started:
        yield started


def frames(folder: Path, count: int = 4, side: int = 64) -> Path:
    pictures = np.zeros((count, side, side, 3), np.uint8)
    pictures[:, 20:40, 20:40] = (200, 40, 40)
    return write_frames(folder / f"in-{count}-{side}.mkv", pictures)


def upscale(folder: Path, count: int, side: int, limit_s: float = 100) -> RunRequest:
    params = f'{{"start":0,"stop":{count},"width":{side},"height":{side}}}'
    return RunRequest("upscale", 1, params, {"frames": frames(folder, count)}, limit_s)


async def begun(worker: Worker, request: RunRequest) -> tuple[asyncio.Task[object], asyncio.Event]:
    """The task of a run that has reported progress at least once."""
    event = asyncio.Event()
    task = asyncio.create_task(worker.run(request, lambda *_: event.set()))
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    assert event.is_set(), task
    return task, event


async def test_results_are_the_same_in_every_process(tmp_path: Path) -> None:
    request = upscale(tmp_path, 3, 128)
    results = []
    for threads in (1, 2):
        heard: list[tuple[float, str]] = []
        async with Worker("cpu", threads, tmp_path / f"scratch-{threads}") as worker:
            result = await worker.run(request, lambda *told, to=heard: to.append(told))
            assert worker.resident == ["upscale"]
        assert read_frames(result.outputs["frames"], MediaLimits(3)).shape == (3, 128, 128, 3)
        assert heard[-1][0] == 1.0
        assert len(result.model_hash) == 32
        assert result.model_hash != bytes(32)
        assert result.finished_at_ms >= result.started_at_ms
        assert result.peak_memory_mb > 100
        results.append(
            (result.outputs["frames"].read_bytes(), result.trajectory, result.model_hash)
        )
        result.discard()
        assert not result.workdir.exists()
    assert results[0] == results[1]
    assert len(results[0][1]) == 2  # three pictures in batches of two


async def test_cancelling_stops_the_run_and_keeps_the_process(
    worker: Worker, tmp_path: Path
) -> None:
    await worker.load("upscale")
    pid = worker.pid
    task, _ = await begun(worker, upscale(tmp_path, 200, 256))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list((tmp_path / "scratch").glob("run-*"))
    again = await worker.run(upscale(tmp_path, 1, 128))
    assert again.outputs["frames"].is_file()
    # It was asked, and obeyed; a very slow machine may have had it ended instead.
    assert worker.pid == pid or not psutil.pid_exists(pid or 0)


async def test_a_process_that_does_not_obey_is_ended(worker: Worker, tmp_path: Path) -> None:
    task, _ = await begun(worker, upscale(tmp_path, 200, 256))
    frozen = worker.pid
    assert frozen is not None
    os.kill(frozen, signal.SIGSTOP)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await worker.run(upscale(tmp_path, 1, 128))).outputs["frames"].is_file()
    assert worker.pid != frozen


async def test_a_run_beyond_its_time_is_stopped(worker: Worker, tmp_path: Path) -> None:
    await worker.load("upscale")
    with pytest.raises(RunTimedOut, match=r"limit of 0\.5 s"):
        await worker.run(upscale(tmp_path, 240, 256, limit_s=0.5))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_crash_ends_the_run_and_not_the_worker(
    worker: Worker, tmp_path: Path, number: signal.Signals
) -> None:
    task, _ = await begun(worker, upscale(tmp_path, 200, 256))
    assert worker.pid is not None
    os.kill(worker.pid, number)
    with pytest.raises(WorkerCrashed, match=number.name):
        await task
    result = await worker.run(upscale(tmp_path, 1, 128))
    assert result.outputs["frames"].is_file()


async def test_too_little_memory_is_said_with_the_need(worker: Worker, tmp_path: Path) -> None:
    enough = (await worker.run(upscale(tmp_path, 1, 128))).peak_memory_mb
    limit = enough + 60  # two pictures of 1024x1024 take about 130 MiB more
    async with Worker("cpu", 1, tmp_path / "limited", memory_limit_mb=limit) as limited:
        assert (await limited.run(upscale(tmp_path, 1, 128))).outputs["frames"].is_file()
        with pytest.raises(WorkerOutOfMemory) as caught:
            await limited.run(upscale(tmp_path, 4, 1024))
        assert caught.value.needed_mb > enough
        assert "upscale" in caught.value.message
        assert f"{limit} MiB" in caught.value.message
        assert (await limited.run(upscale(tmp_path, 1, 128))).outputs["frames"].is_file()


REFUSED = [
    ("upscale", 1, '{"start":0,"stop":9,"width":128,"height":128}', "bad_input"),
    ("upscale", 1, '{"start":0}', "bad_params"),
    ("upscale", 1, "[" * 5000, "bad_params"),
    ("upscale", 2, '{"start":0,"stop":4,"width":128,"height":128}', "unknown_stage"),
    ("nothing", 1, "{}", "unknown_stage"),
    ("decode", 1, '{"frames":16}', "bad_input"),
]


async def test_refusals_have_a_reason_and_keep_the_process(worker: Worker, tmp_path: Path) -> None:
    pid = worker.pid
    for stage, version, params, reason in REFUSED:
        request = RunRequest(stage, version, params, {"frames": frames(tmp_path)}, 100)
        with pytest.raises(StageFailed) as caught:
            await worker.run(request)
        assert caught.value.reason == reason, (stage, params[:60])
        assert caught.value.message
    assert worker.pid == pid


async def test_stopping_in_the_middle_leaves_no_process(tmp_path: Path) -> None:
    worker = Worker("cpu", 1, tmp_path / "scratch")
    await worker.start()
    task, _ = await begun(worker, upscale(tmp_path, 200, 256))
    pid = worker.pid
    assert pid is not None
    await worker.stop()
    with pytest.raises(WorkerCrashed):
        await task
    assert not psutil.pid_exists(pid)


async def test_the_process_dies_with_its_node(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from reelmesh.node.worker import Worker\n"
        "async def main():\n"
        f"    worker = Worker('cpu', 1, pathlib.Path({str(tmp_path / 'scratch')!r}))\n"
        "    await worker.start()\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert node.stdout is not None
    child = psutil.Process(int(await node.stdout.readline()))
    node.kill()
    await node.wait()
    await asyncio.to_thread(psutil.wait_procs, [child], 20)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_what_is_left_from_before_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run-old").mkdir()
    (tmp_path / "run-old" / "frames.mkv").write_bytes(b"x")
    (tmp_path / "rates.json").write_text("[]")
    async with Worker("cpu", 1, tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["rates.json"]


async def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorkerStartFailed, match="there is no device 'cuda:99' here"):
        await Worker("cuda:99", 1, tmp_path).start()


async def test_devices_are_found_in_a_process_of_their_own(tmp_path: Path) -> None:
    devices = await detect_devices(tmp_path)
    assert devices[-1].kind == "cpu"
    assert devices[-1].memory_mb > 500
    assert devices[-1].device_class.startswith("cpu-")


async def test_rates_are_measured_once(worker: Worker, tmp_path: Path) -> None:
    book = RateBook(tmp_path / "rates.json")
    stages = ("interpolate", "encode_video", "assemble")
    rates = await measure_rates(worker, stages, book)
    assert set(rates) == set(stages)
    assert all(rate.seconds_per_unit > 0 and rate.memory_mb > 50 for rate in rates.values())
    assert await measure_rates(worker, stages, RateBook(tmp_path / "rates.json")) == rates


async def test_a_stage_that_cannot_run_is_not_offered(worker: Worker) -> None:
    assert await measure_rates(worker, ["nothing"]) == {}
