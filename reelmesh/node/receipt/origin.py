"""Who made the receipt, for which job, and that nothing in it was changed since."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eth_utils.crypto import keccak

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import BadSignature, Domain
from reelmesh.contracts.terms import Terms
from reelmesh.node.receipt import reused
from reelmesh.node.receipt.model import UNSIGNED, Receipt, section_digests, signed_bytes, wei
from reelmesh.node.receipt.report import Check, holds, same
from reelmesh.scheduler.plan import parse_plan
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.templates import make_plan


def check_sections(document: dict[str, Any]) -> Iterator[Check]:
    """Each section against its own digest: a change is named where it was made."""
    told = document.get("sections")
    told = told if isinstance(told, dict) else {}
    found = section_digests(document)
    for name in sorted(set(found) | set(told)):
        yield holds(
            f"section.{name[:60]}",
            name not in UNSIGNED and found.get(name) == told.get(name),
            "its digest is right",
            "its content is not what was signed: its digest differs",
        )


def check(document: dict[str, Any], receipt: Receipt) -> Iterator[Check]:
    """Signature, job id, spec and plan."""
    yield _signature(document, receipt)
    terms = terms_of(receipt)
    domain = domain_of(receipt)
    yield same("job_id", receipt.job_id, "0x" + terms.job_id(domain).hex(), "the id of these terms")
    spec = parse_spec(receipt.spec)
    yield same("spec.form", receipt.spec, spec.model_dump(mode="json"), "the spec is one of a job")
    yield same(
        "spec.hash",
        receipt.terms.spec_hash,
        "0x" + spec.spec_hash(),
        "the spec is the one that the terms name",
    )
    plan = parse_plan(receipt.plan)
    yield same("plan.spec", plan.spec_hash, spec.spec_hash(), "the plan is made for this spec")
    yield same("plan.hash", receipt.plan_hash, plan.plan_hash(), "the plan has this hash")
    brought = {source.sha256 for source in spec.sources().values()}
    kept = {output.sha256 for one in receipt.reused for output in one.outputs.values()}
    used = {source.sha256 for subtask in plan.subtasks for source in subtask.sources}
    also = f", and {len(kept)} results of earlier jobs" if kept else ""
    yield holds(
        "plan.sources",
        used <= brought | kept,
        f"it takes nothing from outside but the {len(brought)} sources that the spec names{also}",
        "it takes something that the spec does not name",
    )
    template = make_plan(spec)
    follows = reused.left_of(template, receipt).plan_hash() == plan.plan_hash()
    yield Check(
        "plan.template",
        True if follows else None,
        "the plan follows from the spec" + (", less what was reused" if kept else "")
        if follows
        else "not checked: another release of the template makes another plan for this spec",
    )
    yield from reused.check(receipt, domain, template if follows else None)


def terms_of(receipt: Receipt) -> Terms:
    """The terms as the contract client takes them. Raises BadTerms."""
    terms = receipt.terms
    return Terms(
        buyer=terms.buyer,
        nonce=int(terms.nonce),
        coordinator=terms.coordinator,
        asset=terms.asset,
        budget=wei(terms.budget),
        deadline=terms.deadline,
        claim_window=terms.claim_window,
        spec_hash=bytes.fromhex(terms.spec_hash[2:]),
    )


def domain_of(receipt: Receipt) -> Domain:
    """What the job's signatures are made under."""
    return Domain(receipt.chain_id, receipt.market)


def _signature(document: dict[str, Any], receipt: Receipt) -> Check:
    digest = bytes(keccak(signed_bytes(document)))
    try:
        signer = eip712.recover_digest(digest, bytes.fromhex(receipt.signature[2:]))
    except BadSignature as error:
        return Check("signature", False, error.message)
    return holds(
        "signature",
        signer == receipt.terms.coordinator,
        f"signed as a whole by the coordinator {signer}",
        "this is not what the coordinator signed",
    )
