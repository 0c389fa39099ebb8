"""A finished job made up whole, with real keys and signatures, for receipts that are real."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from eth_utils.crypto import keccak

from reelmesh.contracts import eip712, merkle
from reelmesh.contracts.terms import Terms
from reelmesh.node.coordinator.attested import attestation_of, attestations_root
from reelmesh.node.coordinator.inputs import input_artifacts
from reelmesh.node.coordinator.records import JobRecord, Reused, Similar, TermsRecord, created
from reelmesh.node.proof import artifacts_root
from reelmesh.node.receipt.build import build_receipt
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.scheduler.cost import reserves
from reelmesh.scheduler.ids import JobId, NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.job import events as e
from reelmesh.scheduler.job.due import due
from reelmesh.scheduler.job.state import (
    JobState,
    Limits,
    Offer,
    OutputRef,
    Placement,
    SignedAttestation,
    StageOffer,
)
from reelmesh.scheduler.job.transition import create, transition
from reelmesh.scheduler.reuse import prune, work_keys
from reelmesh.scheduler.sources import Given
from reelmesh.scheduler.spec import ImageToVideo, TextToVideo
from reelmesh.scheduler.stages import entry
from reelmesh.scheduler.templates import make_plan

BUDGET = Wei(10**16)
CHAIN_ID = 31337
MARKET = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


def key(name: str) -> NodeKey:
    return NodeKey.from_bytes(bytes(keccak(text=name)))


@dataclass
class Finished:
    """A job that went all the way, and who took part."""

    record: JobRecord
    state: JobState
    coordinator: NodeKey

    def receipt(self) -> bytes:
        return build_receipt(self.record, self.state, self.coordinator)


SPEC = TextToVideo(prompt="a red circle", seconds=1.0, width=256, height=256)


def record_of(
    coordinator: NodeKey, out: Path = Path("/tmp"), spec: TextToVideo | ImageToVideo = SPEC
) -> JobRecord:
    terms = Terms(
        buyer=coordinator.address,
        nonce=0,
        coordinator=coordinator.address,
        asset="0x" + "00" * 20,
        budget=BUDGET,
        deadline=2_000_000,
        claim_window=600,
        spec_hash=bytes.fromhex(spec.spec_hash()),
    )
    domain = eip712.Domain(CHAIN_ID, MARKET)
    return JobRecord(
        job_id=JobId("0x" + terms.job_id(domain).hex()),
        created_ms=1_000_000_000,
        chain_id=CHAIN_ID,
        market=MARKET,
        terms=TermsRecord.of(terms),
        spec=spec,
        plan=make_plan(spec),
        out_dir=out,
        name="clip",
        from_block=1,
    )


EARLIER = "a big red ball moving left over a blue background"
LATER = "large crimson ball drifting left on a navy backdrop"
DISTANCE = 0.31


def record_with_clip_of(
    earlier: Finished, spec: TextToVideo, name: str = "interpolate", similar: Similar | None = None
) -> JobRecord:
    """A later job's, which takes in one result of an earlier one."""
    record, template = record_of(earlier.coordinator, spec=spec), make_plan(spec)
    done = earlier.state.subtasks[SubtaskId(name)].done
    assert done is not None
    inputs = input_artifacts(earlier.record, earlier.state, SubtaskId(name))
    one = Reused(
        subtask=SubtaskId(name),
        key=work_keys(template, similar.prompt if similar else None)[SubtaskId(name)],
        job_id=earlier.record.job_id,
        made_as=SubtaskId(name),
        provider=done.provider,
        inputs={k: r.sha256 for k, r in inputs.items()},
        outputs=done.outputs,
        attestation=done.attestation,
        similar=similar,
    )
    given = Given(sha256=one.output.sha256, size=one.output.size, kind=one.output.kind)
    plan = prune(template, {one.subtask: given}).plan
    return record.model_copy(update={"plan": plan, "reused": (one,)})


def similar_play(name: str = "interpolate", distance: float = DISTANCE) -> Play:
    """A job that goes on from the clip of another prompt."""
    earlier = Play(spec=SPEC.model_copy(update={"prompt": EARLIER})).finish()
    spec = SPEC.model_copy(update={"prompt": LATER})
    similar = Similar(prompt=EARLIER, distance=distance)
    return Play(record=record_with_clip_of(earlier, spec, name, similar))


class Play:
    """Feeds one job's machine with what two honest providers would send."""

    def __init__(
        self,
        *,
        consents: bool = True,
        spec: TextToVideo | ImageToVideo = SPEC,
        record: JobRecord | None = None,
    ) -> None:
        self.coordinator = key("coordinator")
        self.workers = [key("worker-0"), key("worker-1")]
        self.record = record or record_of(self.coordinator, spec=spec)
        shares = reserves(self.record.plan, Wei(BUDGET // 2))
        self.state = create(created(self.record, shares, Limits()))
        self.now = self.state.at_ms
        self.consents = consents

    def feed(self, event: e.Event) -> None:
        self.state, _ = transition(self.state, event)

    def finish(self) -> Finished:
        self.feed(e.EscrowConfirmed(at_ms=self.now, tx=_tx("post"), gas=50_000))
        for worker in self.workers:
            self.feed(e.BidReceived(at_ms=self.now, round=0, offer=self.offer(worker)))
        self.award()
        self.work()
        self.close()
        return Finished(self.record, self.state, self.coordinator)

    def award(self) -> None:
        found = due(self.state)
        assert found is not None
        self.now = found.at_ms
        self.feed(found.event)
        tender = self.state.tender
        assert tender is not None
        placements = tuple(
            Placement(
                subtask=name,
                provider=NodeAddress(self.workers[i % 2].address),
                price=Wei(tender.reserves[name] // 2),
            )
            for i, name in enumerate(self.state.subtasks)
        )
        self.feed(e.Cleared(at_ms=self.now, round=0, placements=placements, losses=(), unplaced={}))
        assert self.state.tender is not None
        leaves = [(leaf.provider, leaf.cap) for leaf in self.state.tender.leaves]
        root = "0x" + merkle.sum_root(leaves)[0].hex()
        tx = _tx("award")
        self.feed(e.AwardConfirmed(at_ms=self.now, round=0, root=root, tx=tx, gas=40_000))

    def work(self) -> None:
        while self.state.phase == "working":
            before = self.state
            for worker in self.workers:
                self.run(worker)
            assert self.state is not before

    def run(self, worker: NodeKey) -> None:
        token = hashlib.sha256(repr(self.state.at_ms).encode() + worker.public_key).hexdigest()[:32]
        self.now += 1
        self.feed(e.LeaseRequested(at_ms=self.now, provider=worker.address, token=token))
        for name, subtask in self.state.subtasks.items():
            if subtask.lease is not None and subtask.lease.token == token:
                self.deliver(worker, name, token)

    def deliver(self, worker: NodeKey, name: SubtaskId, token: str) -> None:
        stage = entry(self.state.subtasks[name].item.stage)
        refs = {
            output: OutputRef(
                sha256=hashlib.sha256(f"{name}/{output}".encode()).hexdigest(), size=99, kind=kind
            )
            for output, kind in stage.outputs.items()
        }
        at = self.now
        self.feed(e.DeliveryStarted(at_ms=at, subtask=name, token=token, total_bytes=99))
        self.feed(e.ChunkAccepted(at_ms=at, subtask=name, token=token, accepted_bytes=99))
        self.feed(e.DeliveryCompleted(at_ms=at, subtask=name, token=token, outputs=refs))
        signed = self.attest(worker, name, refs)
        self.feed(e.AttestationReceived(at_ms=at, subtask=name, token=token, attestation=signed))

    def attest(
        self, worker: NodeKey, name: SubtaskId, refs: dict[str, OutputRef]
    ) -> SignedAttestation:
        subtask = self.state.subtasks[name]
        inputs = input_artifacts(self.record, self.state, name)
        unsigned = SignedAttestation(
            attempt=subtask.attempt,
            inputs_root="0x" + artifacts_root({k: r.sha256 for k, r in inputs.items()}).hex(),
            outputs_root="0x" + artifacts_root({k: r.sha256 for k, r in refs.items()}).hex(),
            trajectory_root="0x" + "00" * 32,
            stage=subtask.item.stage,
            stage_version=subtask.item.stage_version,
            model_hash="0x" + "11" * 32,
            device_class="cpu-test",
            started_at_ms=self.now,
            finished_at_ms=self.now + 5,
            signature="0x",
        )
        message = attestation_of(self.record, name, unsigned)
        signature = eip712.sign(self.record.domain, message, worker)
        return unsigned.model_copy(update={"signature": "0x" + signature.hex()})

    def close(self) -> None:
        for worker in self.workers[: 2 if self.consents else 1]:
            total = self.state.providers[NodeAddress(worker.address)].promised
            consent = eip712.Consent(self.record.job_bytes, total)
            signature = "0x" + eip712.sign(self.record.domain, consent, worker).hex()
            self.feed(
                e.ConsentReceived(
                    at_ms=self.now, provider=worker.address, total=total, signature=signature
                )
            )
        if not self.consents:
            found = due(self.state)
            assert found is not None
            self.now = found.at_ms
            self.feed(found.event)
        paid = sum(a.promised for a in self.state.providers.values())
        locked = sum(a.cap - a.promised for a in self.state.providers.values() if a.consent is None)
        self.feed(
            e.SettlementConfirmed(
                at_ms=self.now,
                tx=_tx("settle"),
                gas=60_000,
                attestations_root="0x" + attestations_root(self.record, self.state).hex(),
                paid=paid,
                refunded=BUDGET - paid - locked,
                locked=locked,
            )
        )
        self.feed(e.ResultDelivered(at_ms=self.now, video="/tmp/clip.mp4", receipt="/tmp/r.json"))

    def offer(self, worker: NodeKey) -> Offer:
        stages = {s.stage: s.stage_version for s in self.record.plan.subtasks}
        return Offer(
            provider=NodeAddress(worker.address),
            peer_id="peer",
            stages=tuple(
                StageOffer(
                    stage=stage,
                    stage_version=version,
                    price_per_unit=Wei(1),
                    seconds_per_unit=0.1,
                    memory_mb=1,
                )
                for stage, version in stages.items()
            ),
            slots=1,
            memory_mb=100_000,
            queue_s=0.0,
            uplink_mbps=100.0,
            device_class="cpu-test",
            certificate="00",
            nonce="00" * 16,
        )


def _tx(what: str) -> str:
    return "0x" + hashlib.sha256(what.encode()).hexdigest()
