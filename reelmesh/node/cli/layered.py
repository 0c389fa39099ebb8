"""Buying in layers: first what shows the content, then, or not at all, the rest."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelmesh.errors import UserError
from reelmesh.node.cli.control import ControlClient, Order

SUFFIX = ".preview"
_HEADROOM = 2
"""Times the least that work is put to the market for: half is there to do it again."""


class NotAPreview(UserError):
    """The job is whole, so that there is nothing to go on with."""


async def preview_order(socket: Path, order: Order) -> Order:
    """The order for a job's first layer alone, with its share of the whole job's budget.

    Never more than that budget, which is the most that the buyer would pay for all of it.
    """
    spec = {**json.loads(order.spec_json), "layer": "preview"}
    first = replace(order, spec_json=json.dumps(spec), name=f"{order.name}{SUFFIX}")
    async with ControlClient(socket) as client:
        whole = await client.quote(order.spec_json, order.reuse)
        layer = await client.quote(first.spec_json, order.reuse)
    part = share(order.budget, layer, whole["least_whole"])
    return replace(first, budget=min(order.budget, part))


def as_asked(job: dict[str, Any], order: Order) -> dict[str, Any]:
    """A shown preview, as one would be that was made for this order.

    One that was given again may be of a job with another frame rate, with other sound or of another
    name: what is made next is what this order says.
    """
    spec = json.loads(order.spec_json)
    return {**job, "spec": spec, "out_dir": str(order.out_dir), "name": order.name}


async def rest_order(socket: Path, job: dict[str, Any], deadline_s: int) -> Order:
    """The order that goes on from a preview, at the same level of price. Raises NotAPreview."""
    spec = dict(job.get("spec") or {})
    if spec.pop("layer", "whole") != "preview":
        raise NotAPreview(
            f"job {job.get('job_id')} is no preview: there is nothing to go on with",
            "reelmesh job submit --preview posts one",
        )
    written = json.dumps(spec)
    async with ControlClient(socket) as client:
        paid_for = await client.quote(json.dumps(job["spec"]), "off")
        rest = await client.quote(written, same_clip(job))
    budget = share(int(job["budget"]), rest, paid_for["least_whole"])
    target, name = Path(job["out_dir"]), stem_of(str(job["name"]))
    return Order(written, budget, deadline_s, target, name, reuse=same_clip(job))


def same_clip(job: dict[str, Any]) -> str:
    """What a job that goes on from this one takes in: also the clip that this one took."""
    return f"like:{job['job_id']}" if job.get("similar") else "exact"


def share(budget: int, layer: dict[str, Any], whole: str) -> int:
    """The part of a budget that falls to a layer, by what each should cost; never hopeless."""
    least = int(layer["least"])
    return max(_HEADROOM * least, budget * least // max(1, int(whole)))


def stem_of(name: str) -> str:
    """The whole video's file stem, from its preview's."""
    return name.removesuffix(SUFFIX)


def whole_order(socket: Path, job: dict[str, Any], deadline_s: int) -> Order:
    """`rest_order` from a synchronous command."""
    return asyncio.run(rest_order(socket, job, deadline_s))
