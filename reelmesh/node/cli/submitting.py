"""Handing a job in and seeing it through: the one path of `job submit` and of the demo."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reelmesh.errors import ReelmeshError, UserError
from reelmesh.node.cli.control import ControlClient, Order, Taken
from reelmesh.node.cli.jobview import JobView
from reelmesh.node.cli.live import show_events
from reelmesh.scheduler.reuse import clip_of
from reelmesh.scheduler.spec import JobSpec
from reelmesh.scheduler.templates import make_plan

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, None: 1}
_LEAST_DEADLINE_S = 60
_LONGEST_DEADLINE_S = 30 * 24 * 3600


class InvalidOption(UserError):
    """A flag's value that cannot be read."""


class JobFailed(ReelmeshError):
    """The job ended without a video."""


@dataclass(frozen=True)
class Outcome:
    """How a watched job ended: the folded events, and what ShowJob tells."""

    view: JobView
    job: dict[str, Any]


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of "512x512". Raises InvalidOption."""
    found = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip().lower())
    if found is None:
        raise InvalidOption(f"{text!r} is not a size", "write WIDTHxHEIGHT, as 512x512")
    return int(found[1]), int(found[2])


def parse_duration(text: str) -> int:
    """Return the whole seconds in "90", "90s", "10m" or "2h". Raises InvalidOption."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidOption(f"{text!r} is not a length of time", "write it as 90s, 10m or 2h")
    seconds = int(float(found[1]) * _UNITS_S[found[2]])
    if not _LEAST_DEADLINE_S <= seconds <= _LONGEST_DEADLINE_S:
        raise InvalidOption(
            f"a deadline {text} from now cannot be kept", "choose between 60s and 720h"
        )
    return seconds


def reuse_word(*, reuse: bool, similar: bool) -> str:
    """Return `Order.reuse` for the flags. Raises InvalidOption."""
    if similar and not reuse:
        raise InvalidOption("--similar and --no-reuse exclude each other", "give one of them")
    return "similar" if similar else "exact" if reuse else "off"


def similar_notes(spec: JobSpec) -> tuple[str, ...]:
    """That --similar does nothing for this job, where it has no clip made from a prompt alone."""
    if clip_of(make_plan(spec)) is not None:
        return ()
    return ("--similar is for the built-in model's text to video; equal work is taken in as ever",)


async def with_similar_seed(socket: Path, order: Order) -> Order:
    """The order with the seed of the nearest similar prompt's clip; as it is where there is none.

    For a buyer who gave no seed: a drawn one would have no clip of any earlier job.
    """
    async with ControlClient(socket) as client:
        seed = (await client.quote(order.spec_json, "any"))["seed"]
    if seed is None:
        return order
    return replace(order, spec_json=json.dumps({**json.loads(order.spec_json), "seed": seed}))


def file_stem(prompt: str) -> str:
    """Return a short name for files of a job: its prompt's first words."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())[:6]
    return "-".join(words)[:48] or "video"


def free_stem(folder: Path, prompt: str) -> str:
    """Return `file_stem`, numbered where the folder has a result of that name already."""
    stem = file_stem(prompt)
    numbered = (f"{stem}-{number}" for number in itertools.count(2))
    names = itertools.chain([stem], numbered)
    return next(name for name in names if not (folder / f"{name}.mp4").exists())


async def submit(socket: Path, order: Order) -> Taken:
    """Hand in a job."""
    async with ControlClient(socket) as client:
        return await client.order(order)


async def watch(
    socket: Path,
    view: JobView,
    names: dict[str, str] | None = None,
    *,
    as_json: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Show a job until it is over, and fetch its account. The view is folded into as it goes.

    Args:
        names: Provider address to the name it is shown by.
        as_json: One JSON object a line instead of what a person reads.
        quiet: Show nothing.
    """
    async with ControlClient(socket) as client:
        events = client.watch(view.job_id)
        await show_events(events, view, names, as_json=as_json, quiet=quiet)
        return Outcome(view, await client.show(view.job_id))


def require_video(outcome: Outcome) -> None:
    """Raise JobFailed, with the reason and where the money is, unless a video was delivered."""
    view = outcome.view
    if view.state == "delivered":
        return
    what = "was cancelled" if view.state == "cancelled" else "failed"
    reason = f": {view.reason}" if view.reason else ""
    raise JobFailed(f"job {view.job_id} {what}{reason}", view.hint or _money_hint(outcome.job))


def _money_hint(job: dict[str, Any]) -> str:
    from reelmesh.node.cli.money import format_eth

    refunded = int(job.get("refunded") or 0)
    if refunded:
        return f"{format_eth(refunded)} came back to your credit"
    return f"see what happened: reelmesh job show {job.get('job_id', '')}"


def run_watch(
    socket: Path, view: JobView, names: dict[str, str] | None = None, *, as_json: bool = False
) -> Outcome:
    """Watch from a synchronous command; KeyboardInterrupt passes through and the job goes on."""
    return asyncio.run(watch(socket, view, names, as_json=as_json))
