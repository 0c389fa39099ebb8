"""Templates: how a job of some kind is cut into subtasks."""

from __future__ import annotations

from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import ImageToVideo, JobSpec, TextToVideo
from reelmesh.scheduler.templates import image_to_video, text_to_video


def make_plan(spec: JobSpec) -> Plan:
    """The plan for a spec; the same spec always gives the same plan, byte for byte."""
    match spec:
        case TextToVideo():
            return text_to_video.plan(spec)
        case ImageToVideo():
            return image_to_video.plan(spec)
    raise TypeError(f"no template makes {spec.kind}")
