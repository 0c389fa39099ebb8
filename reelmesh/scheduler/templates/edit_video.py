"""A buyer's video, edited: slower or faster, longer, or in another look. Its sound is left out.

retime   decode_video-i → interpolate-i → encode_video-i ─┐
restyle  decode_video-i → restyle-i ────→ encode_video-i ─┤
extend   decode_video-i ────────────────→ encode_video-i ─┼→ assemble
         decode_video-n → carry_on ─────→ encode_video-n ─┘
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise

from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.spec import EditSpec, ExtendVideo, RestyleVideo, RetimeVideo
from reelmesh.scheduler.stages.carry_on import SEEN_FRAMES
from reelmesh.scheduler.templates.cutting import cuts
from reelmesh.scheduler.templates.text_to_video import CRF, join

CHUNK_FRAMES = 48
LEAD_FRAMES = 6
"""Frames before a chunk from which a look is already evened out over time when it begins."""
_SOURCE_FRAMES = 24  # of one retimed chunk: interpolating holds them all


def retime(spec: RetimeVideo) -> Plan:
    """A chunk is so many frames in, so many out, that both are whole numbers."""
    speed = Fraction(spec.speed).limit_denominator(4)
    times = max(1, _SOURCE_FRAMES // speed.numerator)
    given, most = times * speed.numerator, times * speed.denominator
    tasks, encoded = [], []
    for i, start in enumerate(range(0, spec.frames, most)):
        stop = min(start + most, spec.frames)
        units = -(-(stop - start) // speed.denominator)
        shown = units * speed.numerator + 1
        source = _decoded(spec, i, spec.start + i * given / spec.fps, shown)
        timeline = {"start": 0, "stop": stop - start, "total": units * speed.denominator + 1}
        made = build_subtask(
            f"interpolate-{i}",
            "interpolate",
            {**timeline, "side": max(spec.width, spec.height)},
            {"frames": source},
        )
        tasks += [source, made]
        encoded.append(_encoded(spec, i, made, stop - start))
    return _joined(spec, tasks, encoded)


def restyle(spec: RestyleVideo) -> Plan:
    """Each chunk begins a little earlier than what it is needed for."""
    tasks, encoded = [], []
    for i, (start, stop) in enumerate(pairwise(cuts(spec.frames, CHUNK_FRAMES))):
        lead = min(LEAD_FRAMES, start)
        source = _decoded(spec, i, _second(spec, start - lead), stop - start + lead)
        params = {**_size(spec), "style": spec.style, "lead": lead, "frames": stop - start}
        made = build_subtask(f"restyle-{i}", "restyle", params, {"frames": source})
        tasks += [source, made]
        encoded.append(_encoded(spec, i, made, stop - start))
    return _joined(spec, tasks, encoded)


def extend(spec: ExtendVideo) -> Plan:
    """The footage as it is, and what comes after its last frame."""
    more = round(spec.more * spec.fps)
    own = spec.frames - more
    tasks, encoded = [], []
    for i, (start, stop) in enumerate(pairwise(cuts(own, CHUNK_FRAMES))):
        source = _decoded(spec, i, _second(spec, start), stop - start)
        tasks.append(source)
        encoded.append(_encoded(spec, i, source, stop - start))
    last = len(encoded)
    seen = min(SEEN_FRAMES, own)
    end = _decoded(spec, last, _second(spec, own - seen), seen)
    params = {**_size(spec), "fps": spec.fps, "seen": seen, "frames": more}
    made = build_subtask("carry_on", "carry_on", params, {"frames": end})
    return _joined(spec, [*tasks, end, made], [*encoded, _encoded(spec, last, made, more)])


def _second(spec: EditSpec, frame: int) -> float:
    return spec.start + frame / spec.fps


def _size(spec: EditSpec) -> Mapping[str, int]:
    return {"width": spec.width, "height": spec.height}


def _decoded(spec: EditSpec, number: int, start: float, frames: int) -> Subtask:
    params = {"start": start, "frames": frames, "fps": spec.fps, **_size(spec)}
    return build_subtask(
        f"decode_video-{number}", "decode_video", params, {}, {"video": spec.video}
    )


def _encoded(spec: EditSpec, number: int, frames: Subtask, count: int) -> Subtask:
    params = {"fps": spec.fps, "crf": CRF, "frames": count, **_size(spec)}
    return build_subtask(f"encode_video-{number}", "encode_video", params, {"frames": frames})


def _joined(spec: EditSpec, tasks: list[Subtask], encoded: list[Subtask]) -> Plan:
    subtasks = (*tasks, *encoded, join(spec, encoded))
    return Plan(spec_hash=spec.spec_hash(), subtasks=subtasks)
