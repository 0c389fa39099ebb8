"""Holding an attestation against what was leased and what was received."""

from __future__ import annotations

from reelmesh.contracts import eip712
from reelmesh.errors import PeerError
from reelmesh.node.coordinator.attested import attestation_of
from reelmesh.node.coordinator.inputs import input_artifacts
from reelmesh.node.coordinator.records import JobRecord
from reelmesh.node.proof import artifacts_root
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import SubtaskId, subtask_key
from reelmesh.scheduler.job.state import JobState, Lease, SignedAttestation
from reelmesh.scheduler.stages import entry

_SKEW_MS = 60_000
"""How far the two clocks may be apart."""


class BadAttestation(PeerError):
    """An attestation does not say what happened; `reason` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_attestation(
    record: JobRecord,
    state: JobState,
    name: SubtaskId,
    lease: Lease,
    signed: work_pb2.SignedAttestation,
    now_ms: int,
) -> SignedAttestation:
    """The attestation as it is kept. Raises BadAttestation."""
    if lease.outputs is None:
        raise BadAttestation("not_delivered", "attested before everything was delivered")
    kept = _read(signed)
    subtask = state.subtasks[name]
    inputs = {key: ref.sha256 for key, ref in input_artifacts(record, state, name).items()}
    outputs = {key: ref.sha256 for key, ref in lease.outputs.items()}
    stage = entry(subtask.item.stage, subtask.item.stage_version)
    expected: list[tuple[str, object, object]] = [
        ("wrong_job", signed.job_id, record.job_bytes),
        ("wrong_subtask", signed.subtask, subtask_key(record.job_id, name)),
        ("wrong_attempt", signed.attempt, subtask.attempt),
        ("wrong_inputs", signed.inputs_root, artifacts_root(inputs)),
        ("wrong_outputs", signed.outputs_root, artifacts_root(outputs)),
        ("wrong_stage", signed.stage, stage.name),
        ("wrong_stage_version", signed.stage_version, stage.version),
        ("wrong_device_class", signed.device_class, state.offers[lease.provider].device_class),
        ("wrong_model_hash", any(signed.model_hash), stage.has_weights),
        ("wrong_model_hash", signed.model_hash, _offered_hash(state, name, lease, signed)),
    ]
    for reason, found, wanted in expected:
        if found != wanted:
            raise BadAttestation(reason, f"the attestation of {name} does not match: {reason}")
    _check_times(signed, lease, now_ms)
    _check_signature(record, name, lease, kept)
    return kept


def _offered_hash(
    state: JobState, name: SubtaskId, lease: Lease, signed: work_pb2.SignedAttestation
) -> bytes:
    """The hash that the bid named for a production model; of an embedded one, what is signed."""
    item = state.subtasks[name].item
    if not item.model:
        return signed.model_hash
    offered = {
        (line.stage, line.model): line.model_hash for line in state.offers[lease.provider].stages
    }
    return bytes.fromhex(offered.get((item.stage, item.model), ""))


def _read(signed: work_pb2.SignedAttestation) -> SignedAttestation:
    lengths = [
        len(signed.inputs_root),
        len(signed.outputs_root),
        len(signed.trajectory_root),
        len(signed.model_hash),
    ]
    if lengths != [32] * 4 or len(signed.signature) != eip712.SIGNATURE_BYTES:
        raise BadAttestation("malformed", "a hash or signature of the wrong length")
    if max(signed.started_at_ms, signed.finished_at_ms) >= 2**53:
        raise BadAttestation("malformed", "a time that is none")
    return SignedAttestation(
        attempt=signed.attempt,
        inputs_root="0x" + signed.inputs_root.hex(),
        outputs_root="0x" + signed.outputs_root.hex(),
        trajectory_root="0x" + signed.trajectory_root.hex(),
        stage=signed.stage,
        stage_version=signed.stage_version,
        model_hash="0x" + signed.model_hash.hex(),
        device_class=signed.device_class,
        started_at_ms=signed.started_at_ms,
        finished_at_ms=signed.finished_at_ms,
        signature="0x" + signed.signature.hex(),
    )


def _check_times(signed: work_pb2.SignedAttestation, lease: Lease, now_ms: int) -> None:
    # A result that the provider remembers from an earlier lease was made before this one began.
    if not signed.started_at_ms <= signed.finished_at_ms <= now_ms + _SKEW_MS:
        raise BadAttestation("wrong_times", "a run that ends before it starts, or in the future")
    if signed.started_at_ms < lease.granted_ms - 7 * 86_400_000:
        raise BadAttestation("wrong_times", "a run from long ago")


def _check_signature(
    record: JobRecord, name: SubtaskId, lease: Lease, kept: SignedAttestation
) -> None:
    try:
        signer = eip712.recover(
            record.domain,
            attestation_of(record, name, kept),
            bytes.fromhex(kept.signature[2:]),
        )
    except (eip712.BadSignature, eip712.BadMessage) as error:
        raise BadAttestation("bad_signature", error.message) from error
    if signer != lease.provider:
        raise BadAttestation("bad_signature", f"signed by {signer}")
