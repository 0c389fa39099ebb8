"""Who did what: every attestation, its roots, and that each result came from the ones before."""

from __future__ import annotations

from collections.abc import Iterator

from reelmesh.contracts import eip712, merkle
from reelmesh.contracts.eip712 import BadMessage, BadSignature
from reelmesh.node.proof import artifacts_root
from reelmesh.node.receipt.model import Receipt, Work
from reelmesh.node.receipt.origin import domain_of
from reelmesh.node.receipt.report import Check, holds, same
from reelmesh.scheduler.ids import JobId, SubtaskId, subtask_key
from reelmesh.scheduler.plan import Plan, Subtask, parse_plan
from reelmesh.scheduler.stages import entry


def check(receipt: Receipt) -> Iterator[Check]:
    """Every subtask's work, the root over all attestations, and the video."""
    plan = parse_plan(receipt.plan)
    planned = [subtask.id for subtask in plan.subtasks]
    done = [one.subtask for one in receipt.work]
    complete = done == planned
    order = [name for name in planned if name in set(done)]
    yield holds(
        "work.subtasks",
        done == order and (complete or receipt.video is None),
        f"{len(done)} of the plan's {len(planned)} subtasks, each once, in its order",
        "the subtasks are not the plan's, each once and in its order",
    )
    by_name = {one.subtask: one for one in receipt.work}
    leaves = {leaf.provider for leaf in receipt.awards.leaves} if receipt.awards else set()
    digests = []
    for one in receipt.work:
        yield from _one(receipt, plan, one, by_name, leaves)
        digests.append(eip712.digest(domain_of(receipt), attestation_of(receipt, one)))
    root = merkle.root(digests) if digests else bytes(32)
    yield same(
        "work.attestations_root",
        receipt.attestations_root,
        "0x" + root.hex(),
        f"the root over {len(digests)} attestations",
    )
    yield from _proofs(receipt, digests)
    yield _video(receipt, plan, by_name)
    yield Check("audits", None, "not checked: this version runs no audits")


def attestation_of(receipt: Receipt, one: Work) -> eip712.Attestation:
    """The attestation in the form that was signed."""
    signed = one.attestation
    return eip712.Attestation(
        job_id=bytes.fromhex(receipt.job_id[2:]),
        subtask=subtask_key(JobId(receipt.job_id), SubtaskId(one.subtask)),
        attempt=signed.attempt,
        inputs_root=bytes.fromhex(signed.inputs_root[2:]),
        outputs_root=bytes.fromhex(signed.outputs_root[2:]),
        trajectory_root=bytes.fromhex(signed.trajectory_root[2:]),
        stage=signed.stage,
        stage_version=signed.stage_version,
        model_hash=bytes.fromhex(signed.model_hash[2:]),
        device_class=signed.device_class,
        started_at=signed.started_at_ms,
        finished_at=signed.finished_at_ms,
    )


def _one(
    receipt: Receipt, plan: Plan, one: Work, by_name: dict[str, Work], leaves: set[str]
) -> Iterator[Check]:
    name = f"work.{one.subtask[:50]}"
    subtask = plan[SubtaskId(one.subtask)]
    signed = one.attestation
    stage = entry(subtask.stage)
    yield holds(
        f"{name}.award", one.provider in leaves, "done by one that had an award", "no award"
    )
    yield same(
        f"{name}.stage",
        (signed.stage, signed.stage_version),
        (subtask.stage, subtask.stage_version),
        "attested for the planned stage",
    )
    yield same(f"{name}.inputs", one.inputs, _inputs(subtask, by_name), "made from these results")
    kinds = {key: artifact.kind for key, artifact in one.outputs.items()}
    yield same(f"{name}.outputs", kinds, dict(stage.outputs), "the stage's outputs")
    hashes = {key: artifact.sha256 for key, artifact in one.outputs.items()}
    yield same(
        f"{name}.inputs_root",
        signed.inputs_root,
        "0x" + artifacts_root(one.inputs).hex(),
        "the attested inputs",
    )
    yield same(
        f"{name}.outputs_root",
        signed.outputs_root,
        "0x" + artifacts_root(hashes).hex(),
        "the attested outputs",
    )
    yield holds(
        f"{name}.times",
        signed.started_at_ms <= signed.finished_at_ms,
        "it ended after it began",
        "it ended before it began",
    )
    yield _signed(receipt, one, f"{name}.signature")


def _inputs(subtask: Subtask, by_name: dict[str, Work]) -> dict[str, str]:
    made = {ref.name: by_name[ref.subtask].outputs[ref.output].sha256 for ref in subtask.inputs}
    return made | {source.name: str(source.sha256) for source in subtask.sources}


def _signed(receipt: Receipt, one: Work, name: str) -> Check:
    signature = bytes.fromhex(one.attestation.signature[2:])
    try:
        signer = eip712.recover(domain_of(receipt), attestation_of(receipt, one), signature)
    except (BadSignature, BadMessage) as error:
        return Check(name, False, error.message)
    return same(name, one.provider, signer, "attested by its provider")


def _proofs(receipt: Receipt, digests: list[bytes]) -> Iterator[Check]:
    """Each attestation's own Merkle proof under the root that is on chain."""
    root = bytes.fromhex(receipt.attestations_root[2:])
    good = all(
        merkle.verify(digest, merkle.proof(digests, index), root)
        for index, digest in enumerate(digests)
    )
    yield holds(
        "work.proofs", good, "each attestation is proven under the root", "a proof does not hold"
    )


def _video(receipt: Receipt, plan: Plan, by_name: dict[str, Work]) -> Check:
    last = by_name.get(plan.final().id)
    expected = next(iter(last.outputs.values())) if last is not None else None
    return same("video", receipt.video, expected, "the video is what the last subtask made")
