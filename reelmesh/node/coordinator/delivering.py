"""Writing the video and the receipt where the buyer asked for them, whole or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import structlog

from reelmesh.errors import StorageError
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.layered import NoLayers
from reelmesh.node.receipt.build import build_receipt
from reelmesh.node.viewer import write_page
from reelmesh.scheduler.job.events import ResultDelivered, ResultRejected
from reelmesh.scheduler.job.state import JobState
from reelmesh.scheduler.spec import JobSpec, VideoTo4D

log = structlog.stdlib.get_logger(__name__)

_TRIES = 3
_RETRY_S = 1.0


class NoResult(StorageError):
    """The plan's last subtask left no video."""


async def deliver_result(job: JobDriver) -> None:
    """Write both files; a disk that refuses is tried a few times, then told."""
    problem = ""
    for _ in range(_TRIES):
        try:
            await _write_video(job)
            await _write_receipt(job, job.state)
        except (OSError, StorageError) as error:
            problem = error.message if isinstance(error, StorageError) else str(error)
            log.warning("result_not_written", job=job.record.job_id[:10], why=problem)
            await asyncio.sleep(_RETRY_S)
        else:
            video, receipt = str(job.record.video_path), str(job.record.receipt_path)
            at_ms = job.services.clock_ms()
            await job.feed(ResultDelivered(at_ms=at_ms, video=video, receipt=receipt))
            return
    hint = f"{problem}; the artifacts are kept, make room in {job.record.out_dir}"
    at_ms = job.services.clock_ms()
    await job.feed(ResultRejected(at_ms=at_ms, reason="result_not_written", hint=hint))


async def rewrite_receipt(job: JobDriver, state: JobState) -> None:
    """Write the receipt again as of `state`; only where one was written."""
    if state.receipt is None:
        return
    try:
        await _write_receipt(job, state)
    except (OSError, StorageError) as error:
        log.warning("receipt_not_rewritten", job=job.record.job_id[:10], why=str(error))


async def _write_video(job: JobDriver) -> None:
    final = job.record.plan.final()
    done = job.state.subtasks[final.id].done
    if done is None or len(done.outputs) != 1:
        raise NoResult("the job has no video")
    (output,) = done.outputs.values()
    source = await job.services.store.path(output.sha256)
    await asyncio.to_thread(write_result, job.record.spec, source, job.record.video_path)


def write_result(spec: JobSpec, source: Path, video: Path) -> None:
    """The video, and the page beside it of a job that has one. Raises OSError.

    A provider that left its layers out spoils the page alone.
    """
    _copy_whole(source, video)
    if isinstance(spec, VideoTo4D):
        try:
            write_page(video, video.with_suffix(".html"), spec.camera, spec.seconds, spec.prompt)
        except NoLayers as error:
            log.warning("viewer_not_written", video=video.name, why=error.message)


async def _write_receipt(job: JobDriver, state: JobState) -> None:
    data = build_receipt(job.record, state, job.services.key)
    await asyncio.to_thread(_write, data, job.record.receipt_path)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that the target is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, staging)
    keep_whole(staging, target)


def _write(data: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.part")
    staging.write_bytes(data)
    keep_whole(staging, target)


def keep_whole(staging: Path, target: Path) -> None:
    """On disk first, then visible under its name."""
    with staging.open("rb") as file:
        os.fsync(file.fileno())
    staging.replace(target)
