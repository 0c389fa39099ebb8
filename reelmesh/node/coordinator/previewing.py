"""Showing the buyer the small clip while the rest of the job is done."""

from __future__ import annotations

import structlog

from reelmesh.errors import ReelmeshError
from reelmesh.node.coordinator.delivering import keep_whole
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.worker.preview import make_preview
from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.templates.layers import shown_as, small_clip

log = structlog.stdlib.get_logger(__name__)


def shows_content(job: JobDriver, name: SubtaskId) -> bool:
    """Whether this subtask's frames are worth showing: more than the preview itself follows."""
    plan = job.record.plan
    clip = small_clip(plan)
    return clip is not None and clip.id == name and plan.final().stage != "preview"


async def show_preview(job: JobDriver, name: SubtaskId) -> None:
    """Write NAME.preview.mp4 beside where the video will be, and say so. Never fails the job."""
    services, record = job.services, job.record
    done = job.state.subtasks[name].done
    if done is None or not services.config.previews:
        return
    (output,) = done.outputs.values()
    target = record.preview_path
    if target.with_name(f"{target.stem}.receipt.json").exists():
        return  # a job for this very preview was delivered there, and paid for
    staging = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        frames = await services.store.path(output.sha256)
        await make_preview(frames, staging, shown_as(record.spec))
        keep_whole(staging, target)
    except (ReelmeshError, OSError) as error:
        log.warning("no_preview", job=record.job_id[:10], why=str(error))
        staging.unlink(missing_ok=True)
        return
    job.note("preview", {"video": str(target)})
