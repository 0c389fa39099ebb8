"""The coordinator's answers to providers at work: leases, progress, inputs, results, consents."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Mapping

from reelmesh.contracts import eip712
from reelmesh.node.coordinator.attesting import BadAttestation, check_attestation
from reelmesh.node.coordinator.deliveries import begin_delivery, lease_of
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.node.coordinator.inputs import input_artifacts
from reelmesh.node.coordinator.previewing import show_preview, shows_content
from reelmesh.node.coordinator.progress import ProgressDesk
from reelmesh.node.coordinator.reusing import remember
from reelmesh.node.coordinator.services import Services
from reelmesh.node.coordinator.vouchers import signed_voucher
from reelmesh.node.rpc.errors import CoordinatorStorage, NoSuchThing, PermissionDenied
from reelmesh.node.rpc.handler import Delivery, InputReader
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import NodeAddress, SubtaskId
from reelmesh.scheduler.job.choosing import Choice, choose, has_free_slot
from reelmesh.scheduler.job.events import (
    AttestationReceived,
    ConsentReceived,
    LeaseRequested,
    ProviderBusy,
    ProviderReturned,
    SubtaskFailed,
)
from reelmesh.scheduler.job.state import JobState, Outcome, Phase
from reelmesh.scheduler.job.working import held

_REASON = re.compile(r"[a-z0-9_]{1,40}")
_OVER = frozenset({Phase.DELIVERING, Phase.REFUNDING, Phase.ENDED})


class WorkDesk:
    """Implements `WorkHandler` for all jobs of this coordinator.

    Args:
        jobs: Job id in bytes to the job; read at each call.
    """

    def __init__(self, services: Services, jobs: Mapping[bytes, JobDriver]) -> None:
        self._services = services
        self._jobs = jobs
        self._progress = ProgressDesk(services)
        self._tasks: set[asyncio.Task[None]] = set()

    async def lease(self, provider: str, request: work_pb2.LeaseRequest) -> work_pb2.LeaseReply:
        """Grant work, ask for a consent, tell that the job is over, or wait for one of these."""
        job, address = self._jobs.get(request.job_id), NodeAddress(provider)
        if job is None:
            return work_pb2.LeaseReply(closed="unknown_job")
        until_ms = self._services.clock_ms() + request.wait_ms
        await self._note_presence(job, address, busy=request.busy)
        while True:
            reply = await self._answer(job, address, busy=request.busy)
            left_ms = until_ms - self._services.clock_ms()
            if reply.WhichOneof("what") != "idle" or left_ms <= 0:
                return reply
            await job.wait_change(left_ms / 1000)

    async def progress(
        self, provider: str, report: work_pb2.ProgressReport
    ) -> work_pb2.ProgressReply:
        """Renew the lease, or tell the provider to stop."""
        return await self._progress.take(self._job(report.job_id), NodeAddress(provider), report)

    async def open_input(self, provider: str, job_id: bytes, sha256: str) -> InputReader:
        """A reader of an artifact that one of this provider's leases needs."""
        job = self._job(job_id)
        for name, subtask in job.state.subtasks.items():
            if subtask.lease is None or subtask.lease.provider != provider:
                continue
            inputs = input_artifacts(job.record, job.state, name)
            if sha256 in {ref.sha256 for ref in inputs.values()}:

                def read(offset: int) -> AsyncIterator[bytes]:
                    return self._services.store.read(sha256, offset)

                return read
        raise PermissionDenied("this artifact is no input of a lease of yours")

    async def begin_delivery(self, provider: str, header: work_pb2.DeliverHeader) -> Delivery:
        """Check lease and announced outputs, and open a sink for them."""
        return await begin_delivery(self._job(header.job_id), NodeAddress(provider), header)

    async def attest(self, provider: str, request: work_pb2.AttestRequest) -> work_pb2.AttestReply:
        """Check and keep the attestation; a repeated one is answered as before."""
        job, address = self._job(request.attestation.job_id), NodeAddress(provider)
        name, token = SubtaskId(request.subtask), request.lease_token.hex()
        if self._is_kept(job, address, name, request.attestation):
            return work_pb2.AttestReply(accepted=True, voucher=signed_voucher(job, address))
        lease = lease_of(job, address, name, token)
        now_ms = self._services.clock_ms()
        try:
            kept = check_attestation(
                job.record, job.state, name, lease, request.attestation, now_ms
            )
        except BadAttestation as error:
            await job.feed(
                SubtaskFailed(
                    at_ms=now_ms,
                    subtask=name,
                    token=token,
                    reason="bad_attestation",
                    message=error.message,
                )
            )
            return work_pb2.AttestReply(accepted=False, reason=error.reason)
        event = AttestationReceived(at_ms=now_ms, subtask=name, token=token, attestation=kept)
        await job.feed(event)
        if not self._is_kept(job, address, name, request.attestation):
            return work_pb2.AttestReply(accepted=False, reason="stale_lease")
        await remember(job, name, self._jobs)
        if shows_content(job, name):
            task = asyncio.create_task(show_preview(job, name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return work_pb2.AttestReply(accepted=True, voucher=signed_voucher(job, address))

    async def fail(self, provider: str, request: work_pb2.FailRequest) -> None:
        """The provider gives the lease back; without that lease nothing happens."""
        job = self._job(request.job_id)
        name, token = SubtaskId(request.subtask), request.lease_token.hex()
        lease = held(job.state, name, token)
        if lease is None or lease.provider != provider:
            return
        reason = request.reason if _REASON.fullmatch(request.reason) else "failed"
        if reason == CoordinatorStorage.reason and not job.disk_failed_lately():
            reason = "failed"  # so that it is no excuse for anything else
        message = "".join(c for c in request.message[:500] if c.isprintable())
        await job.feed(
            SubtaskFailed(
                at_ms=self._services.clock_ms(),
                subtask=name,
                token=token,
                reason=reason,
                message=message,
                may_retry=request.retryable_here,
            )
        )

    async def consent(
        self, provider: str, request: work_pb2.ConsentRequest
    ) -> work_pb2.ConsentReply:
        """The provider agrees to its total; repeated, it is answered as before."""
        job, address = self._job(request.job_id), NodeAddress(provider)
        account = job.state.providers.get(address)
        if account is None:
            raise PermissionDenied("no award of this job is yours")
        if request.total != str(account.promised):
            return work_pb2.ConsentReply(accepted=False, reason="wrong_total")
        consent = eip712.Consent(request.job_id, account.promised)
        try:
            signer = eip712.recover(job.record.domain, consent, request.signature)
        except eip712.BadSignature:
            signer = ""
        if signer != provider:
            return work_pb2.ConsentReply(accepted=False, reason="bad_signature")
        state = await job.feed(
            ConsentReceived(
                at_ms=self._services.clock_ms(),
                provider=address,
                total=account.promised,
                signature="0x" + request.signature.hex(),
            )
        )
        kept = state.providers[address].consent is not None
        return work_pb2.ConsentReply(accepted=kept, reason="" if kept else "too_late")

    async def _answer(
        self, job: JobDriver, provider: NodeAddress, *, busy: bool
    ) -> work_pb2.LeaseReply:
        state = job.state
        if state.phase in _OVER:
            return work_pb2.LeaseReply(closed=_closing_reason(state))
        account = state.providers.get(provider)
        if account is None:
            raise PermissionDenied("no award of this job is yours", "not_awarded")
        if state.phase is Phase.CONSENTING and account.consent is None:
            ask = work_pb2.Settlement(job_id=job.record.job_bytes, total=str(account.promised))
            return work_pb2.LeaseReply(settlement=ask)
        if busy:
            return work_pb2.LeaseReply(idle="busy")
        choice = choose(state, provider)
        if isinstance(choice, Choice):
            return await self._grant(job, provider)
        return work_pb2.LeaseReply(idle=choice)

    async def _grant(self, job: JobDriver, provider: NodeAddress) -> work_pb2.LeaseReply:
        now_ms, token = self._services.clock_ms(), secrets.token_hex(16)
        state = await job.feed(LeaseRequested(at_ms=now_ms, provider=provider, token=token))
        for name, subtask in state.subtasks.items():
            if subtask.lease is not None and subtask.lease.token == token:
                return work_pb2.LeaseReply(grant=_grant_message(job, state, name))
        return work_pb2.LeaseReply(idle="taken_meanwhile")

    async def _note_presence(self, job: JobDriver, provider: NodeAddress, *, busy: bool) -> None:
        account = job.state.providers.get(provider)
        if account is None:
            return
        if busy:
            # busy with this very job is known already
            if not account.busy and has_free_slot(job.state, provider):
                await job.feed(ProviderBusy(at_ms=self._services.clock_ms(), provider=provider))
        elif account.absent or account.busy:
            await job.feed(ProviderReturned(at_ms=self._services.clock_ms(), provider=provider))

    def _is_kept(
        self,
        job: JobDriver,
        provider: NodeAddress,
        name: SubtaskId,
        attestation: work_pb2.SignedAttestation,
    ) -> bool:
        subtask = job.state.subtasks.get(name)
        done = subtask.done if subtask is not None else None
        signature = "0x" + attestation.signature.hex()
        return (
            done is not None
            and done.provider == provider
            and done.attestation.signature == signature
        )

    def _job(self, job_id: bytes) -> JobDriver:
        job = self._jobs.get(job_id)
        if job is None:
            raise NoSuchThing("no such job here", "unknown_job")
        return job


def _grant_message(job: JobDriver, state: JobState, name: SubtaskId) -> work_pb2.Grant:
    subtask, lease = job.record.plan[name], state.subtasks[name].lease
    assert lease is not None
    return work_pb2.Grant(
        job_id=job.record.job_bytes,
        subtask=name,
        attempt=state.subtasks[name].attempt,
        lease_token=bytes.fromhex(lease.token),
        lease_ms=state.limits.lease_ms,
        run_limit_ms=lease.run_until_ms - lease.granted_ms,
        stage=subtask.stage,
        stage_version=subtask.stage_version,
        params_json=subtask.params_json(),
        inputs=[
            work_pb2.ArtifactRef(name=key, sha256=ref.sha256, size=ref.size, kind=ref.kind)
            for key, ref in input_artifacts(job.record, state, name).items()
        ],
        price=str(lease.price),
    )


def _closing_reason(state: JobState) -> str:
    if state.outcome is Outcome.DELIVERED:
        return "settled"
    return state.reason.code if state.reason is not None else str(state.outcome)
