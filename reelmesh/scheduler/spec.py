"""What a buyer asks for: the job's spec, its canonical bytes and its hash.

A kind of job is a subclass of `JobSpec` with its own `kind`, listed in `SPECS`. The fields of a
released kind never change: its hash stands on chain.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from reelmesh.errors import UserError
from reelmesh.scheduler.camera import CameraPath
from reelmesh.scheduler.canonical import canonical, digest
from reelmesh.scheduler.ids import ArtifactId
from reelmesh.scheduler.models import EMBEDDED, MODELS, check_audio_model, check_model
from reelmesh.scheduler.quotes import picture_words
from reelmesh.scheduler.sizes import MOST_PIXELS, Side
from reelmesh.scheduler.sources import Footage, Picture, Source
from reelmesh.scheduler.strict_json import read_object

MAX_PROMPT = 300
MAX_SPEC_BYTES = 8192
# Cc control, Cs lone surrogate, Zl/Zp line and paragraph separators, Co private, Cn unassigned.
_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp", "Co", "Cn"})
# Marks that make text read in another order than it is stored in.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_SIZE_HINT = "take an even number from 128 to 3840, at most 3840x2160 in all, as 512x512"
_FOOTAGE_SIZE_HINT = "of a video of yours take multiples of 64 from 256 to 1024, as 512x320"
_HINTS: Mapping[str, str] = {
    "prompt": "say in one line what the video shows, e.g. 'a small green square moving up over a "
    "black background'",
    "seconds": "ask for 1 to 20 seconds",
    "fps": "ask for 12 to 60 frames a second; 24 is usual",
    "width": _SIZE_HINT,
    "height": _SIZE_HINT,
    "steps": "take 4 to 50 steps; 20 is usual",
    "guidance": "take 1 to 10; 2 is usual",
    "quality": "take fixed, draft, auto or high",
    "seed": "take a whole number from 0 to 4294967295",
    "audio": "say true or false; --audio asks for sound",
    "audio_style": "take natural, wooden, metallic, cartoon or soft",
    "audio_model": "take ltx-2 with --audio, or leave --audio-model out for the built-in sound",
    "spec": "ask for sound with --audio, and say in the prompt what is seen",
    "image": "give a PNG, JPEG or WebP file of at most 64 MiB",
    "repair": "give --from and --to in seconds, from 0 to the video's length",
    "layer": "take preview or whole",
    "model": "ask for what it makes (see reelmesh model list), or leave --model out",
    "step_cache": "leave it out, or take first_block or mag with a Wan model",
    "video": "give a video file of at most 1 GiB",
    "start": "take the second of the video at which to begin",
    "speed": "take 0.25 to 4 in steps of 0.25; 0.5 is half as fast",
    "more": "take 0.5 to 4 seconds",
    "style": "take sketch, cartoon, watercolour, noir, sepia, warm, cold or night",
    "camera": "see docs/camera.md, or use --orbit -15:15",
    "views": "take a number of views a second that divides fps, e.g. 12",
    "version": "this node speaks version 1 of the spec",
}


StepCache = Literal["off", "first_block", "mag"]


class InvalidSpec(UserError):
    """The request for a video cannot be met as it stands; nothing was posted."""


def normal_prompt(text: str) -> str:
    """NFC, without space at either end, 1..300 characters, on one line. Raises `ValueError`."""
    prompt = unicodedata.normalize("NFC", text).strip()
    if not prompt:
        raise ValueError("The prompt is empty")
    if len(prompt) > MAX_PROMPT:
        raise ValueError(f"The prompt has {len(prompt)} characters; at most {MAX_PROMPT} are taken")
    if any(unicodedata.category(char) in _FORBIDDEN or char in _BIDI for char in prompt):
        raise ValueError("The prompt has a line break, a control character or text of no script")
    return prompt


def _size(value: int) -> int:
    if value % 64:
        raise ValueError(f"{value} is not a multiple of 64")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("a number is wanted")  # noqa: TRY004 (pydantic wants ValueError)
    return value


Quality = Literal["fixed", "draft", "auto", "high"]
"""How much work goes into a clip; `scheduler.complexity` says what each means."""
Prompt = Annotated[str, Field(strict=True), AfterValidator(normal_prompt)]
_Size = Annotated[int, Field(ge=256, le=1024, strict=True), AfterValidator(_size)]
_Real = BeforeValidator(_number)
AudioStyle = Literal["natural", "wooden", "metallic", "cartoon", "soft"]
"""natural: rubber and skin; wooden: blocks; metallic: bells; cartoon: springs; soft: felt."""


def _area(height: int, info: ValidationInfo) -> int:
    width = info.data.get("width", 0)
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width}x{height} is more than 3840x2160 in all")
    return height


Width = Annotated[Side, Strict()]
Height = Annotated[Side, Strict(), AfterValidator(_area)]
"""Sides of a video of a kind that is made at any size: see `templates.tiled`."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)]


class JobSpec(BaseModel):
    """What every kind of job says. The sha256 of the canonical form stands on chain as `specHash`.

    Use the class of a kind, or `parse_spec`; this one is of no kind. A field that came after a
    kind's release is named in `later`: at its default it is left out of every written form, so
    that a spec which says nothing of it keeps its hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    later: ClassVar[frozenset[str]] = frozenset()

    version: Literal[1] = 1
    kind: str
    prompt: Prompt
    seconds: Annotated[float, _Real, Field(ge=1, le=20)] = 4.0
    fps: Annotated[int, Field(ge=12, le=60, strict=True)] = 24
    width: _Size = 512
    height: _Size = 512
    seed: Seed = 0

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields: dict[str, object] = write(self)
        for name in self.later:
            if getattr(self, name) == type(self).model_fields[name].default:
                fields.pop(name, None)
        return fields

    @property
    def frames(self) -> int:
        """Frames of the finished video: seconds x fps, rounded to the nearest."""
        return round(self.seconds * self.fps)

    def sources(self) -> dict[str, Source]:
        """The media that the buyer supplies, by the name of the spec's field."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, Source)}

    def canonical(self) -> bytes:
        """The RFC 8785 bytes; also what is stored as the job's spec artifact."""
        return canonical(self)

    def spec_hash(self) -> ArtifactId:
        """sha256 of `canonical()`, 64 hex digits; `bytes.fromhex` of it is on chain."""
        return digest(self.canonical())


def _check_model(spec: JobSpec, model: str) -> None:
    try:
        check_model(model, spec.kind, spec.seconds, (spec.width, spec.height))
    except ValueError as error:
        raise PydanticCustomError("model", "{why}", {"why": str(error)}) from error


class GeneratedSpec(JobSpec):
    """What the kinds that run a denoise loop say besides.

    audio: the video gets sound; audio_style: what things sound as if made of. A line that the
    prompt quotes is then spoken, and is no part of what the picture shows. audio_model: the
    production model that makes the sound, from the pictures and the whole prompt.

    model: a production model's name in the registry; step_cache: how it may skip what
    hardly changes from step to step.
    """

    later: ClassVar[frozenset[str]] = frozenset(
        {"layer", "quality", "audio", "audio_style", "audio_model", "model", "step_cache"}
    )

    steps: Annotated[int, Field(ge=4, le=50, strict=True)] = 20
    guidance: Annotated[float, _Real, Field(ge=1, le=10)] = 2.0
    layer: Literal["preview", "whole"] = "whole"
    quality: Quality = "fixed"
    audio: Annotated[bool, Field(strict=True)] = False
    audio_style: AudioStyle = "natural"
    audio_model: str = EMBEDDED
    model: str = EMBEDDED
    step_cache: StepCache = "off"

    @model_validator(mode="after")
    def _audible(self) -> Self:
        if self.audio_style != "natural" and not self.audio:
            raise ValueError("A style of sound is named, and no sound is asked for")
        if self.audio and not picture_words(self.prompt):
            raise ValueError("The prompt holds only what is said, and nothing to be seen")
        return self

    @model_validator(mode="after")
    def _voiced(self) -> Self:
        if self.audio_model == EMBEDDED:
            return self
        try:
            if not self.audio:
                raise ValueError("a model of sound is named, and no sound is asked for")
            if self.audio_style != "natural":
                raise ValueError("audio_style goes with the built-in sound: say it in the prompt")
            check_audio_model(self.audio_model, self.model, self.seconds)
        except ValueError as error:
            raise PydanticCustomError("audio_model", "{why}", {"why": str(error)}) from error
        return self

    @model_validator(mode="before")
    @classmethod
    def _suited(cls, said: object) -> object:
        """A production model's own guidance, where the buyer says nothing of it."""
        if isinstance(said, dict) and "guidance" not in said:
            known = MODELS.get(str(said.get("model")))
            return said if known is None else {**said, "guidance": known.guidance}
        return said

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _check_model(self, self.model)
        caches = MODELS[self.model].caches if self.model != EMBEDDED else ()
        if self.step_cache not in ("off", *caches):
            why = f"the model {self.model} does not run with the step cache {self.step_cache}"
            raise PydanticCustomError("step_cache", "{why}", {"why": why})
        alone = {"layer", "quality", "audio", "audio_style"}
        if self.model == EMBEDDED:
            return self
        if MODELS[self.model].audio_rate or self.audio_model != EMBEDDED:
            alone.remove("audio")
        for name in sorted(alone):
            if getattr(self, name) != type(self).model_fields[name].default:
                also = " or with an audio_model" if name == "audio" else ""
                why = f"{name} goes with the built-in model{also}, not with {self.model}"
                raise PydanticCustomError("model", "{why}", {"why": why})
        return self


class Repair(BaseModel):
    """One span of a video to be rendered anew; the rest stays bit for bit.

    start, stop: seconds; what is shown in between changes, and a little more on either side, as
    the model's chunks and the segments are cut. seed, prompt: what the new part is made from;
    without a prompt, the job's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start: Annotated[float, _Real, Field(ge=0, le=20)]
    stop: Annotated[float, _Real, Field(gt=0, le=20)]
    seed: Seed = 0
    prompt: Prompt | None = None


class TextToVideo(GeneratedSpec):
    """A video from a prompt."""

    later: ClassVar[frozenset[str]] = GeneratedSpec.later | {"repair"}

    kind: Literal["text_to_video"] = "text_to_video"
    width: Width = 512
    height: Height = 512
    repair: Repair | None = None

    @model_validator(mode="after")
    def _repairable(self) -> Self:
        if self.repair is not None and not self.repair.start < self.repair.stop <= self.seconds:
            raise ValueError("a repair's span must lie within the video, its start before its stop")
        if self.repair is not None and self.layer != "whole":
            raise ValueError("a repair has no preview")
        return self


class ImageToVideo(GeneratedSpec):
    """A video that begins with a picture and goes on as the prompt says."""

    kind: Literal["image_to_video"] = "image_to_video"
    width: Width = 512
    height: Height = 512
    image: Picture


Style = Literal["sketch", "cartoon", "watercolour", "noir", "sepia", "warm", "cold", "night"]
"""The looks that a video can be given."""


class EditSpec(JobSpec):
    """What the kinds that work on a video of the buyer's say besides; `prompt` only names the job.

    start: second of the video at which it begins.
    """

    video: Footage
    start: Annotated[float, _Real, Field(ge=0, le=14_000)] = 0.0


class RetimeVideo(EditSpec):
    """The video at `speed` times its speed; `seconds` is the length that comes out."""

    kind: Literal["retime_video"] = "retime_video"
    speed: Annotated[float, _Real, Field(ge=0.25, le=4, multiple_of=0.25)]


class ExtendVideo(EditSpec):
    """The video, and `more` seconds after it; `seconds` is both together."""

    kind: Literal["extend_video"] = "extend_video"
    more: Annotated[float, _Real, Field(ge=0.5, le=4)]

    @model_validator(mode="after")
    def _begins(self) -> Self:
        if round(self.seconds * self.fps) - round(self.more * self.fps) < 3:
            why = "nothing of the video is left before what is added"
            raise PydanticCustomError("seconds", "{why}", {"why": why})
        return self


class RestyleVideo(EditSpec):
    """The video in another look."""

    kind: Literal["restyle_video"] = "restyle_video"
    style: Style


class VideoTo4D(JobSpec):
    """The buyer's footage, seen from a camera that moves; the prompt only names the job.

    start: second of the footage at which it begins. views: a second; frames between are
    interpolated, and none where it equals fps. model: what tells near from far.
    """

    later: ClassVar[frozenset[str]] = frozenset({"model"})

    kind: Literal["video_to_4d"] = "video_to_4d"
    video: Footage
    camera: CameraPath
    start: Annotated[float, _Real, Field(ge=0, le=14_000)] = 0.0
    views: Annotated[int, Field(ge=6, le=60, strict=True)] = 12
    model: str = EMBEDDED

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        if self.fps % self.views or self.fps // self.views > 5:
            why = f"{self.views} views a second do not fit {self.fps} frames a second"
            raise PydanticCustomError("views", "{why}", {"why": why})
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _check_model(self, self.model)
        return self


SPECS: Mapping[str, type[JobSpec]] = MappingProxyType(
    {
        "text_to_video": TextToVideo,
        "image_to_video": ImageToVideo,
        "retime_video": RetimeVideo,
        "extend_video": ExtendVideo,
        "restyle_video": RestyleVideo,
        "video_to_4d": VideoTo4D,
    }
)
"""Every kind of job that this version makes."""

AnySpec = Annotated[
    TextToVideo | ImageToVideo | RetimeVideo | ExtendVideo | RestyleVideo | VideoTo4D,
    Field(discriminator="kind"),
]
"""The field type of a spec that was written down earlier."""


def parse_spec(source: str | bytes | Mapping[str, object]) -> JobSpec:
    """A spec from JSON text or from named fields; without a kind it is text_to_video.

    Raises:
        InvalidSpec: one plain line for the first thing that is wrong, and the next step.
    """
    if isinstance(source, str | bytes):
        try:
            source = read_object(source, MAX_SPEC_BYTES)
        except ValueError as error:
            raise InvalidSpec(f"The job's spec cannot be read: {error}") from error
    kind = _class_of(source.get("kind", "text_to_video"))
    try:
        return kind.model_validate(dict(source))
    except ValidationError as error:
        raise _plain_error(error, kind) from error


def _class_of(kind: object) -> type[JobSpec]:
    found = SPECS.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise InvalidSpec("kind is not one that this version makes", f"it makes {', '.join(SPECS)}")
    return found


def _plain_error(error: ValidationError, kind: type[JobSpec]) -> InvalidSpec:
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0])[:40] if first["loc"] else "spec"
    if first["type"] in _HINTS:
        return InvalidSpec(first["msg"], _HINTS[first["type"]])
    hint = _HINTS.get(field, "leave it out")
    if field in ("width", "height") and issubclass(kind, EditSpec | VideoTo4D):
        hint = _FOOTAGE_SIZE_HINT
    if first["type"] == "missing":
        return InvalidSpec(f"The spec has no {field}", hint)
    if first["type"] == "extra_forbidden":
        return InvalidSpec(f"The spec has an unknown field {field!r}", hint)
    message = first["msg"].removeprefix("Value error, ")
    if field in ("prompt", "spec") and first["type"] == "value_error":
        return InvalidSpec(message, hint)
    return InvalidSpec(f"{field} is not valid: {message[:1].lower()}{message[1:]}", hint)
