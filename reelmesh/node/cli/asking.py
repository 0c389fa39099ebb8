"""From what a buyer said to a checked spec: the one way, for every command that makes a job."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelmesh.node.cli.editing import (
    EDIT_HINT,
    edit_fields,
    edit_notes,
    edit_of,
    edit_prompt,
    taken_from,
)
from reelmesh.node.cli.options import SPEC_FIELDS, JobOptions
from reelmesh.node.cli.submitting import InvalidOption, parse_size

if TYPE_CHECKING:
    from reelmesh.node.cli.media import FootageFacts
    from reelmesh.scheduler.camera import CameraPath
    from reelmesh.scheduler.spec import JobSpec

_SIZE = "512x512"
_BUILT_IN = (None, "embedded")
_FILLED_NOTE = (
    "what your video never showed is made up, with the built-in filler and not by the model: stay "
    "within 15° for the best result"
)
_ROUNDING_S = 0.1
"""How much a container's stated length may lack of what is asked for."""
_DEPTH_NOTE = (
    "depth is estimated by a small built-in network: things may stand nearer or farther than they "
    "do, and what your video never showed is made up; stay within 15° for the best result"
)


@dataclass(frozen=True)
class JobRequest:
    """A job that could be posted.

    Attributes:
        sources: The spec's source fields, each with its file's absolute path.
        notes: What the buyer should know before paying, in plain lines.
    """

    spec: JobSpec
    sources: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Given:
    """What follows from the media that the buyer gave: the kind, its source fields, the shape."""

    kind: str = "text_to_video"
    fields: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    size: str = _SIZE
    notes: tuple[str, ...] = ()
    prompt: str = ""


def build_request(options: JobOptions) -> JobRequest:
    """Return the checked spec with its files; a seed that was not given is drawn.

    Raises InvalidSpec, InvalidOption.
    """
    from reelmesh.node.cli.sounding import sound_notes
    from reelmesh.scheduler.spec import parse_spec

    given = _given(options)
    width, height = parse_size(options.size or given.size)
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    said = {
        "prompt": options.prompt or given.prompt,
        "width": width,
        "height": height,
        "seed": seed,
    }
    asked = {name: getattr(options, name) for name in SPEC_FIELDS}
    asked = {name: value for name, value in asked.items() if value is not None}
    _refuse_unfit(given.kind, asked)
    spec = parse_spec({"kind": given.kind, **said, **asked, **given.fields})
    heard: tuple[str, ...] = ()
    sound_model = options.audio_model or "embedded"
    # A production model that makes its own sound speaks with its own voice.
    if options.model in _BUILT_IN or sound_model not in _BUILT_IN:
        heard = sound_notes(
            spec.prompt, audio=bool(options.audio), seconds=spec.seconds, model=sound_model
        )
    return JobRequest(spec, given.files, (*given.notes, *heard))


def _given(options: JobOptions) -> _Given:
    from reelmesh.node.cli.media import picture_source, shape_for, warnings
    from reelmesh.node.cli.sounding import drawn_words

    if options.image is not None and options.video is not None:
        raise InvalidOption("a job begins with a picture or a video, not both", "leave one out")
    edit = edit_of(options)
    if edit is not None and options.video is not None:
        return _edited(options, edit, options.video)
    if options.orbit is not None or options.camera is not None:
        if options.video is None:
            flag = "orbit" if options.camera is None else "camera"
            raise InvalidOption(f"--{flag} needs a video to look at", "give it with --video FILE")
        return _footage_given(options, options.video)
    if options.video is not None:
        raise InvalidOption("--video is given, and nothing to do with it", EDIT_HINT)
    # What the built-in model knows says nothing of another's.
    built_in = options.model in _BUILT_IN
    drawn = drawn_words(options.prompt, audio=bool(options.audio))
    if options.image is None:
        return _Given(notes=tuple(warnings(drawn, picture=False)) if built_in else ())
    return _Given(
        kind="image_to_video",
        fields={"image": picture_source(options.image).model_dump()},
        files={"image": options.image.absolute()},
        size=options.size or shape_for(options.image),
        notes=tuple(warnings(drawn)) if built_in else (),
    )


def _edited(options: JobOptions, edit: str, video: Path) -> _Given:
    from reelmesh.node.cli.media import footage_facts, footage_source, size_like

    source, facts = footage_source(video), footage_facts(video)
    return _Given(
        kind=f"{edit}_video",
        fields={"video": source.model_dump(), **edit_fields(options, edit, facts)},
        files={"video": video.absolute()},
        size=options.size or size_like(facts.width, facts.height),
        notes=edit_notes(edit, facts),
        prompt=edit_prompt(options, edit),
    )


def _footage_given(options: JobOptions, video: Path) -> _Given:
    from reelmesh.node.cli.media import footage_facts, footage_source, size_like

    source = footage_source(video)
    facts = footage_facts(video)
    seconds = _seen_seconds(options, facts)
    fps = options.fps or 24
    views = options.views or (12 if fps % 12 == 0 else fps)
    fields = {
        "video": source.model_dump(),
        "camera": _camera(options, seconds).model_dump(mode="json"),
        "seconds": seconds,
        "views": views,
    }
    return _Given(
        kind="video_to_4d",
        fields=fields,
        files={"video": video.absolute()},
        size=options.size or size_like(facts.width, facts.height),
        notes=(*facts.notes, _DEPTH_NOTE if options.model in _BUILT_IN else _FILLED_NOTE),
        prompt="a video from a moving camera",
    )


def _seen_seconds(options: JobOptions, facts: FootageFacts) -> float:
    """How much of the video is walked around in: what was asked for, or up to 4 s of what is left.

    Raises InvalidOption where the video has less.
    """
    _, left = taken_from(options, facts)
    seconds = min(4.0, int(left * 10) / 10) if options.seconds is None else options.seconds
    if max(1.0, seconds) > left + _ROUNDING_S:
        raise InvalidOption(
            f"the video has only {left:.3g} s from there on",
            "take an earlier --start or fewer --seconds; at least 1 s is needed",
        )
    return max(1.0, seconds)


def _camera(options: JobOptions, seconds: float) -> CameraPath:
    from reelmesh.scheduler.camera import MAX_FILE_BYTES, parse_camera, parse_orbit

    if options.camera is None:
        return parse_orbit(options.orbit or "", seconds)
    if options.orbit is not None:
        raise InvalidOption("--orbit and --camera both say where the camera goes", "leave one out")
    try:
        with options.camera.open("rb") as file:
            return parse_camera(file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise InvalidOption(
            f"cannot read {options.camera}: {error.strerror}", "check the path"
        ) from error


def _refuse_unfit(kind: str, asked: Mapping[str, Any]) -> None:
    from reelmesh.scheduler.spec import SPECS

    for name in asked:
        if name not in SPECS[kind].model_fields:
            flag = f"--{name.replace('_', '-')}"
            raise InvalidOption(
                f"{flag} means nothing for {kind.replace('_', ' ')}", "leave it out"
            )
