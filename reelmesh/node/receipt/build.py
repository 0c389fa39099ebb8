"""Making a receipt out of what the coordinator knows of a job."""

from __future__ import annotations

from typing import Any

from eth_utils.crypto import keccak

from reelmesh.contracts import eip712, merkle
from reelmesh.node.coordinator.attested import attestations_root
from reelmesh.node.coordinator.inputs import input_artifacts
from reelmesh.node.coordinator.records import JobRecord
from reelmesh.node.receipt.model import FORMAT, Receipt, section_digests, signed_bytes
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.job.state import Done, JobState


def build_receipt(record: JobRecord, state: JobState, key: NodeKey) -> bytes:
    """The receipt's file: canonical JSON, signed by the coordinator's key."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "job_id": record.job_id,
        "chain_id": record.chain_id,
        "market": record.market,
        "first_block": record.from_block,
        "issued_at_ms": state.at_ms,
        "terms": _terms(record),
        "spec": record.spec.model_dump(mode="json"),
        "plan": record.plan.model_dump(mode="json"),
        "plan_hash": record.plan.plan_hash(),
        "awards": _awards(state),
        "work": [
            _work(record, state, name, subtask.done)
            for name, subtask in state.subtasks.items()
            if subtask.done is not None
        ],
        "attestations_root": "0x" + attestations_root(record, state).hex(),
        "audits": [],
        "payments": [_payment(record, state, leaf.provider, key) for leaf in state.leaves],
        "ledger": {name: str(amount) for name, amount in state.ledger.model_dump().items()},
        "transactions": [tx.model_dump(mode="json") for tx in state.transactions],
        "video": _video(record, state),
    }
    if record.reused:
        document["reused"] = [one.model_dump(mode="json") for one in record.reused]
    document["sections"] = section_digests(document)
    signature = key.sign_digest(bytes(keccak(signed_bytes(document))))
    document["signature"] = "0x" + signature.hex()
    data = canonical(document)
    Receipt.model_validate_json(data)  # what is written can be read
    return data


def _terms(record: JobRecord) -> dict[str, Any]:
    terms = record.terms.model_dump(mode="json")
    return {**terms, "budget": str(record.terms.budget), "nonce": str(record.terms.nonce)}


def _awards(state: JobState) -> dict[str, Any] | None:
    if not state.leaves:
        return None
    root, total = merkle.sum_root([(leaf.provider, leaf.cap) for leaf in state.leaves])
    leaves = [{"provider": leaf.provider, "cap": str(leaf.cap)} for leaf in state.leaves]
    return {"root": "0x" + root.hex(), "sum": str(total), "leaves": leaves}


def _work(record: JobRecord, state: JobState, name: Any, done: Done) -> dict[str, Any]:
    inputs = input_artifacts(record, state, name)
    return {
        "subtask": name,
        "provider": done.provider,
        "price": str(done.price),
        "inputs": {key: ref.sha256 for key, ref in inputs.items()},
        "outputs": {key: ref.model_dump(mode="json") for key, ref in done.outputs.items()},
        "attestation": done.attestation.model_dump(mode="json"),
    }


def _payment(record: JobRecord, state: JobState, provider: Any, key: NodeKey) -> dict[str, Any]:
    account = state.providers[provider]
    voucher = eip712.Voucher(record.job_bytes, provider, account.promised)
    return {
        "provider": provider,
        "total": str(account.promised),
        "voucher": "0x" + eip712.sign(record.domain, voucher, key).hex(),
        "consent": account.consent.signature if account.consent else None,
    }


def _video(record: JobRecord, state: JobState) -> dict[str, Any] | None:
    done = state.subtasks[record.plan.final().id].done
    if done is None:
        return None
    (output,) = done.outputs.values()
    return output.model_dump(mode="json")
