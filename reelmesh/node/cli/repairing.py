"""The order that renders one span of a finished video anew."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from reelmesh.errors import UserError
from reelmesh.node.cli.control import ControlClient, Order
from reelmesh.node.cli.layered import same_clip, share


class NotRepairable(UserError):
    """The job is not one of which a span can be rendered anew."""


async def repair_order(
    socket: Path,
    job: dict[str, Any],
    span: tuple[float, float],
    seed: int | None,
    prompt: str | None,
    deadline_s: int,
) -> Order:
    """The order, with the repair's share of what the job was given. Raises NotRepairable."""
    from reelmesh.scheduler.spec import parse_spec

    spec = dict(job.get("spec") or {})
    if spec.get("kind") != "text_to_video":
        raise NotRepairable(
            f"a job of kind {spec.get('kind')} cannot be repaired yet",
            "post it again with another --seed; what stays the same is not paid for twice",
        )
    if "repair" in spec or spec.get("layer", "whole") != "whole":
        raise NotRepairable(
            f"job {job['job_id']} is itself a repair or a preview",
            "repair the whole job that it came from",
        )
    if not 0 <= span[0] < span[1] <= float(spec["seconds"]):
        raise NotRepairable(
            f"{span[0]:g} to {span[1]:g} s is no part of a video of {float(spec['seconds']):g} s",
            "give --from and --to in seconds, --from first",
        )
    drawn = random.SystemRandom().randrange(2**32) if seed is None else seed
    asked = {"start": span[0], "stop": span[1], "seed": drawn, "prompt": prompt}
    repaired = parse_spec({**spec, "repair": asked}).canonical().decode()
    async with ControlClient(socket) as client:
        paid_for = await client.quote(json.dumps(spec), "off")
        rest = await client.quote(repaired, same_clip(job))
    budget = share(int(job["budget"]), rest, paid_for["least_whole"])
    folder, name = Path(job["out_dir"]), _free(Path(job["out_dir"]), f"{job['name']}-repaired")
    return Order(repaired, budget, deadline_s, folder, name, reuse=same_clip(job))


def _free(folder: Path, stem: str) -> str:
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 10_000))
    return next(name for name in names if not (folder / f"{name}.mp4").exists())
