"""Attestations in the form in which they were signed, and the root over a job's."""

from __future__ import annotations

from reelmesh.contracts import eip712, merkle
from reelmesh.node.coordinator.records import JobRecord
from reelmesh.scheduler.ids import JobId, SubtaskId, subtask_key
from reelmesh.scheduler.job.state import JobState, SignedAttestation


def attestation_of(
    record: JobRecord, name: SubtaskId, signed: SignedAttestation
) -> eip712.Attestation:
    """A subtask's attestation in the form that was signed."""
    return attested(record.job_id, name, signed)


def attested(job_id: JobId, name: SubtaskId, signed: SignedAttestation) -> eip712.Attestation:
    """The same, of a job of which only the id is known."""
    return eip712.Attestation(
        job_id=bytes.fromhex(job_id[2:]),
        subtask=subtask_key(job_id, name),
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


def attestations_root(record: JobRecord, state: JobState) -> bytes:
    """Root over the attestations' digests in the plan's order; zeros where there are none."""
    digests = [
        eip712.digest(record.domain, attestation_of(record, name, subtask.done.attestation))
        for name, subtask in state.subtasks.items()
        if subtask.done is not None
    ]
    return merkle.root(digests) if digests else bytes(32)
