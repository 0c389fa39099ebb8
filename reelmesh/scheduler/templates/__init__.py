"""Templates: how a job of some kind is cut into subtasks."""

from __future__ import annotations

from reelmesh.scheduler.models import EMBEDDED
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import (
    ExtendVideo,
    GeneratedSpec,
    ImageToVideo,
    JobSpec,
    RestyleVideo,
    RetimeVideo,
    TextToVideo,
    VideoTo4D,
)
from reelmesh.scheduler.templates import (
    edit_video,
    image_to_video,
    layers,
    production,
    repair,
    text_to_video,
    video_to_4d,
)


def make_plan(spec: JobSpec) -> Plan:
    """The plan for a spec; the same spec always gives the same plan, byte for byte."""
    if isinstance(spec, GeneratedSpec) and spec.layer == "preview":
        return layers.first_layer(spec, make_plan(spec.model_copy(update={"layer": "whole"})))
    if isinstance(spec, TextToVideo) and spec.repair is not None:
        return repair.plan(spec, make_plan(spec.model_copy(update={"repair": None})))
    match spec:
        case GeneratedSpec() if spec.model != EMBEDDED:
            return production.plan(spec)
        case TextToVideo():
            return text_to_video.plan(spec)
        case ImageToVideo():
            return image_to_video.plan(spec)
        case RetimeVideo():
            return edit_video.retime(spec)
        case ExtendVideo():
            return edit_video.extend(spec)
        case RestyleVideo():
            return edit_video.restyle(spec)
        case VideoTo4D():
            return video_to_4d.plan(spec)
    raise TypeError(f"no template makes {spec.kind}")
