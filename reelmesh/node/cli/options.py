"""What a buyer may say of a video: one class, from which `job submit` and `job estimate` are made.

To add a flag:
1. Add a field to `JobOptions`: its name is the flag's, its default None ("the buyer did not say").
   Show what happens then with `show_default`.
2. If it is a field of the spec by the same name, add the name to `SPEC_FIELDS` below. A kind whose
   spec has no such field refuses the flag in plain words.
3. If it has to be read first (a file, a range), or decides the kind of job, say so in
   `asking.build_request`, which makes the spec for every command.
Flags that say how a job is bought, and not what is made, are parameters of `submit` itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

SPEC_FIELDS = (
    *("seconds", "fps", "steps", "quality", "audio", "audio_style", "audio_model"),
    *("start", "views"),
    *("model", "step_cache"),
)
"""Options that are fields of the spec as they stand."""

P = ParamSpec("P")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The video that is wanted, as the buyer said it; None is what was left to us."""

    prompt: Annotated[
        str,
        typer.Argument(help="What the video shows; may be left out with --video."),
    ] = ""
    image: Annotated[
        Path | None, typer.Option(help="A picture that the video begins with: PNG, JPEG or WebP.")
    ] = None
    video: Annotated[
        Path | None, typer.Option(help="A video of yours to work on: MP4, MOV, MKV or WebM.")
    ] = None
    orbit: Annotated[
        str | None,
        typer.Option(
            help="With --video: see it from a moving camera, degrees FROM:TO within -30:30.",
        ),
    ] = None
    camera: Annotated[
        Path | None,
        typer.Option(help="With --video: the camera's path, a JSON file of keyframes."),
    ] = None
    start: Annotated[
        float | None, typer.Option(help="With --video: second at which to begin.", show_default="0")
    ] = None
    extend: Annotated[
        float | None, typer.Option(help="With --video: go on for 0.5 to 4 seconds after its end.")
    ] = None
    retime: Annotated[
        float | None,
        typer.Option(help="With --video: its speed times 0.25 to 4; 0.5 is half as fast."),
    ] = None
    restyle: Annotated[
        bool | None,
        typer.Option(
            "--restyle",
            help="With --video: the look that the prompt names: sketch, cartoon, watercolour, "
            "noir, sepia, warm, cold or night.",
        ),
    ] = None
    views: Annotated[
        int | None,
        typer.Option(
            help="With --orbit or --camera: views drawn a second; the rest is interpolated.",
            show_default="12 where it divides --fps",
        ),
    ] = None
    seconds: Annotated[float | None, typer.Option(help="Length, 1 to 20.", show_default="4")] = None
    size: Annotated[
        str | None,
        typer.Option(
            help="WIDTHxHEIGHT, even, up to 3840x2160; with --video up to 1024.",
            show_default="512x512, or the shape of what you bring",
        ),
    ] = None
    fps: Annotated[int | None, typer.Option(help="Frames a second.", show_default="24")] = None
    steps: Annotated[
        int | None,
        typer.Option(help="The model's steps.", show_default="20"),
    ] = None
    quality: Annotated[
        str | None,
        typer.Option(
            help="How many steps: fixed, auto (as many as the content needs), draft or high.",
            show_default="fixed",
        ),
    ] = None
    audio: Annotated[
        bool | None,
        typer.Option(
            "--audio",
            help='Add sound: what happens is heard, and a line in "quotes" is spoken.',
            show_default="silent",
        ),
    ] = None
    audio_style: Annotated[
        str | None,
        typer.Option(
            help="What things sound like: natural, wooden, metallic, cartoon or soft.",
            show_default="natural",
        ),
    ] = None
    audio_model: Annotated[
        str | None,
        typer.Option(
            help="With --audio: a production model that looks at the pictures and makes the sound "
            "that the whole prompt tells, up to 10 s: ltx-2.",
            show_default="the built-in sound",
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            help="A production model, which providers with a GPU offer: see model list. With "
            "--orbit or --camera: the one that tells near from far.",
            show_default="the built-in one",
        ),
    ] = None
    step_cache: Annotated[
        str | None,
        typer.Option(
            help="With a Wan model: first_block or mag, faster at some cost in detail.",
            show_default="off",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed gives the same video.", show_default="drawn"),
    ] = None


def takes_job_options(
    command: Callable[Concatenate[JobOptions, P], None],
) -> Callable[..., None]:
    """Make a command of typer's out of one whose first parameter is a `JobOptions`.

    Typer reads the flags off a signature: this one has every option of the class, then the
    command's own.
    """
    hints = get_type_hints(JobOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(JobOptions)
    ]
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    every = [*shared, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)]

    @functools.wraps(command)
    def run(**said: Any) -> None:
        options = JobOptions(**{parameter.name: said.pop(parameter.name) for parameter in shared})
        command(options, **said)  # type: ignore[call-arg]

    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    return run
