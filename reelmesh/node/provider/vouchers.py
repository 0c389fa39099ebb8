"""What crosses the wire under EIP-712, turned into checked values and back."""

from __future__ import annotations

from dataclasses import dataclass

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import Attestation, Consent, Domain, SigningKey, Voucher
from reelmesh.errors import PeerError
from reelmesh.node.provider.ledger import BadVoucher, JobLedger
from reelmesh.proto import work_pb2


@dataclass(frozen=True)
class Parties:
    """Between whom a job's promises go: one chain and market, one job, two nodes."""

    domain: Domain
    job_id: bytes
    coordinator: str
    provider: str


def take_voucher(ledger: JobLedger, signed: work_pb2.SignedVoucher, parties: Parties) -> JobLedger:
    """The ledger with this voucher in it, if it is genuine. Raises BadVoucher."""
    text = signed.amount
    if not text.isascii() or not text.isdecimal() or len(text) > 39:
        raise BadVoucher("a voucher without an amount")
    if signed.job_id != parties.job_id:
        raise BadVoucher("a voucher for another job")
    amount = int(text)
    if amount <= ledger.promised:
        return ledger  # older than what is in hand: worth nothing, true or not
    try:
        signer = eip712.recover(
            parties.domain, Voucher(parties.job_id, parties.provider, amount), signed.signature
        )
    except PeerError as error:
        raise BadVoucher(f"a voucher that does not hold up: {error.message}") from error
    if signer != parties.coordinator:
        raise BadVoucher("a voucher that the coordinator did not sign")
    return ledger.promise(amount, signed.signature)


def sign_consent(parties: Parties, total: int, key: SigningKey) -> work_pb2.ConsentRequest:
    """The agreement that `total` wei is this provider's whole pay."""
    signature = eip712.sign(parties.domain, Consent(parties.job_id, total), key)
    return work_pb2.ConsentRequest(job_id=parties.job_id, total=str(total), signature=signature)


def sign_attestation(
    domain: Domain, attestation: Attestation, key: SigningKey
) -> work_pb2.SignedAttestation:
    """The provider's word over what it ran and what came out."""
    return work_pb2.SignedAttestation(
        job_id=attestation.job_id,
        subtask=attestation.subtask,
        attempt=attestation.attempt,
        inputs_root=attestation.inputs_root,
        outputs_root=attestation.outputs_root,
        trajectory_root=attestation.trajectory_root,
        stage=attestation.stage,
        stage_version=attestation.stage_version,
        model_hash=attestation.model_hash,
        device_class=attestation.device_class,
        started_at_ms=attestation.started_at,
        finished_at_ms=attestation.finished_at,
        signature=eip712.sign(domain, attestation, key),
    )
