"""Work that this buyer paid for before: remembered as it is attested, taken out of later plans."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog
from pydantic import ValidationError

import reelmesh
from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import BadMessage, BadSignature, Domain
from reelmesh.errors import StorageError
from reelmesh.node.coordinator.attested import attested
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.inputs import input_artifacts
from reelmesh.node.coordinator.records import Reused, Similar
from reelmesh.node.coordinator.services import Services
from reelmesh.node.proof import artifacts_root
from reelmesh.node.storage.reuse_index import ClipRow, KeptRow
from reelmesh.scheduler.ids import ArtifactId, SubtaskId
from reelmesh.scheduler.plan import Plan, Subtask
from reelmesh.scheduler.reuse import clip_of, loop_key, prune, work_keys
from reelmesh.scheduler.sources import Given
from reelmesh.scheduler.spec import JobSpec
from reelmesh.scheduler.stages import entry
from reelmesh.scheduler.templates import make_plan

log = structlog.stdlib.get_logger(__name__)

_LONGEST_BODY = 64 * 1024


@dataclass(frozen=True)
class Cut:
    """A plan with what is kept taken out. `plan` is None where nothing is left to do."""

    plan: Plan | None
    reused: tuple[Reused, ...] = ()


def space_of(services: Services) -> str:
    """Whose results these are, on which market, and made by which release's models."""
    domain = services.domain
    return f"{domain.chain_id}/{domain.market}/{services.key.address}/{this_release()}"


async def cut(services: Services, plan: Plan, similar: Similar | None = None) -> Cut:
    """Take out of a template's plan all that is kept and whole. Never fails: it takes less out.

    similar: the prompt whose clip is taken for this plan's. Whoever asks for it must see that the
        plan that is left makes no clip of its own: what follows would be of two clips.
    """
    own = work_keys(plan)
    keys = work_keys(plan, similar.prompt) if similar is not None else own
    try:
        found = await _look_up(services, plan, keys)
        while True:
            pruned = prune(plan, {name: _given(one) for name, one in found.items()})
            bad = [n for n in pruned.reused if not await _is_whole(services, found[n])]
            if not bad:
                break
            await services.kept.forget(space_of(services), [keys[name] for name in bad])
            found = {name: one for name, one in found.items() if name not in bad}
        reused = tuple(
            found[name].model_copy(update={"similar": similar if keys[name] != own[name] else None})
            for name in pruned.reused
        )
        used = [one.key for one in found.values()]
        await services.kept.touch(space_of(services), used, services.clock_ms())
    except StorageError as error:
        log.warning("nothing_reused", why=str(error))
        return Cut(plan)
    return Cut(pruned.plan, reused)


async def remember(job: JobDriver, name: SubtaskId, running: Mapping[bytes, JobDriver]) -> None:
    """Keep a finished subtask's result for later jobs; what cannot be kept is not an error."""
    services, record = job.services, job.record
    done = job.state.subtasks[name].done
    if done is None or len(done.outputs) != 1 or not services.config.reuse_bytes:
        return
    if record.release != this_release():
        return  # planned, and perhaps half made, by another: the template may mean other work now
    key = _keys_of(record.spec, record.similar.prompt if record.similar else None).get(name)
    if key is None:
        return  # the template was changed since, without a new release
    kept = Reused(
        subtask=name,
        key=ArtifactId(key),
        job_id=record.job_id,
        made_as=name,
        provider=done.provider,
        inputs={k: r.sha256 for k, r in input_artifacts(record, job.state, name).items()},
        outputs=done.outputs,
        attestation=done.attestation,
    )
    row = KeptRow(
        key=kept.key,
        sha256=kept.output.sha256,
        size=kept.output.size,
        body=kept.model_dump_json(),
        used_ms=services.clock_ms(),
    )
    try:
        most = services.config.reuse_bytes
        clip = _clip_row(record.spec, name, kept.key)
        dropped = await services.kept.put(space_of(services), row, most, clip)
        for sha256 in dropped - _in_use(running) - services.kept.held:
            await services.store.delete(sha256)
    except (StorageError, OSError) as error:
        log.warning("result_not_kept", subtask=name, why=str(error))


def signed_by_its_provider(domain: Domain, one: Reused) -> bool:
    """Whether its provider attested to have made this output of these inputs."""
    signed = one.attestation
    roots = (
        "0x" + artifacts_root(dict(one.inputs)).hex(),
        "0x" + artifacts_root({k: r.sha256 for k, r in one.outputs.items()}).hex(),
    )
    if roots != (signed.inputs_root, signed.outputs_root):
        return False
    message = attested(one.job_id, one.made_as, signed)
    try:
        signer = eip712.recover(domain, message, bytes.fromhex(signed.signature[2:]))
    except (BadSignature, BadMessage, ValueError):
        return False
    return signer == one.provider


async def _look_up(
    services: Services, plan: Plan, keys: Mapping[SubtaskId, str]
) -> dict[SubtaskId, Reused]:
    rows = await services.kept.find(space_of(services), list(keys.values()))
    found: dict[SubtaskId, Reused] = {}
    for subtask in plan.subtasks:
        row = rows.get(keys[subtask.id])
        one = _read(row, subtask, services.domain) if row is not None else None
        if one is not None:
            found[subtask.id] = one
    return found


def _read(row: KeptRow, subtask: Subtask, domain: Domain) -> Reused | None:
    """A row's content, where it is what this subtask would make; a row is believed in nothing."""
    if len(row.body) > _LONGEST_BODY:
        return None
    try:
        one = Reused.model_validate_json(row.body).model_copy(update={"similar": None})
        _given(one)
    except (ValidationError, ValueError):
        return None
    kinds = {name: output.kind for name, output in one.outputs.items()}
    fits = (
        (one.key, one.output.sha256) == (row.key, row.sha256)
        and kinds == dict(entry(subtask.stage).outputs)
        and (one.attestation.stage, one.attestation.stage_version)
        == (subtask.stage, subtask.stage_version)
        and signed_by_its_provider(domain, one)
    )
    return one.model_copy(update={"subtask": subtask.id}) if fits else None


def _given(one: Reused) -> Given:
    output = one.output
    return Given(sha256=output.sha256, size=output.size, kind=output.kind)


async def _is_whole(services: Services, one: Reused) -> bool:
    """Whether the artifact is there and is its hash; read again, whatever is remembered of it."""
    sha256 = one.output.sha256
    try:
        path = await services.store.path(sha256)
        await services.store.verify(sha256)
    except (StorageError, OSError):
        return False
    return path.stat().st_size == one.output.size


def _in_use(running: Mapping[bytes, JobDriver]) -> set[str]:
    """Artifacts of jobs under way."""
    found: set[str] = set()
    for job in running.values():
        if job.ended:
            continue
        found |= {s.sha256 for subtask in job.record.plan.subtasks for s in subtask.sources}
        for subtask in job.state.subtasks.values():
            if subtask.done is not None:
                found |= {ref.sha256 for ref in subtask.done.outputs.values()}
            if subtask.lease is not None and subtask.lease.outputs is not None:
                found |= {ref.sha256 for ref in subtask.lease.outputs.values()}
    return found


@lru_cache(maxsize=16)
def _keys_of(spec: JobSpec, like: str | None) -> Mapping[SubtaskId, str]:
    """A job's work keys; what follows from a clip that it took counts as that clip's."""
    return work_keys(make_plan(spec), like)


def _clip_row(spec: JobSpec, name: SubtaskId, key: str) -> ClipRow | None:
    """The prompt that a finished latent is of; None for any other result."""
    if not name.startswith("skeleton"):
        return None
    plan = make_plan(spec)
    clip = clip_of(plan)
    if clip is None or clip.latent != name:
        return None
    return ClipRow(key, loop_key(plan, clip), clip.prompt, clip.seed)


@lru_cache(maxsize=1)
def this_release() -> str:
    """What makes the same work come out the same: this release, with the models that it ships."""
    told = hashlib.sha256(reelmesh.__version__.encode())
    for card in sorted((Path(reelmesh.__file__).parent / "node/stages").rglob("weights/*.json")):
        told.update(card.read_bytes())
    return told.hexdigest()[:16]
