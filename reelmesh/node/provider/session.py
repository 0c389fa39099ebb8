"""One awarded job, from the provider's side: its connection, its account, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reelmesh.contracts.eip712 import Attestation, Domain
from reelmesh.errors import PeerError
from reelmesh.node.provider.award import terms_of
from reelmesh.node.provider.ledger import BadVoucher, JobLedger, Unpaid
from reelmesh.node.provider.state import JobRecord, ProviderState, Standing
from reelmesh.node.provider.vouchers import Parties, sign_attestation, sign_consent, take_voucher
from reelmesh.node.rpc.certs import NodeCertificate
from reelmesh.node.rpc.client import WorkClient
from reelmesh.node.rpc.delivery import delivered_share
from reelmesh.node.rpc.errors import CallTimedOut, Refused, Unreachable
from reelmesh.node.rpc.limits import MAX_CHUNK_BYTES, RpcLimits
from reelmesh.node.rpc.sending import chunk_size
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2, work_pb2

_SAVE_EVERY_MS = 250


@dataclass(frozen=True)
class Node:
    """Who this provider is, and what it keeps its accounts with."""

    key: NodeKey
    certificate: NodeCertificate
    domain: Domain
    state: ProviderState
    clock_ms: Callable[[], int]
    limits: RpcLimits


class BadTotal(PeerError):
    """The coordinator asks this node to agree to less than it is owed."""


class JobSession:
    """Everything that is said to one coordinator about one job, and its account.

    Attributes:
        record: The job as it is kept; written to the database before anything depends on it.
        silent_since_ms: When the coordinator stopped answering, None while it answers.
    """

    def __init__(self, record: JobRecord, node: Node) -> None:
        self._node = node
        self._saving = asyncio.Lock()
        self._saved_ms = 0
        self.silent_since_ms: int | None = None
        self.terms = terms_of(record.award)
        self.job_id = record.award.job_id
        self.parties = Parties(
            node.domain, record.award.job_id, self.terms.coordinator, node.key.address
        )
        self.record = replace(record, ledger=_settle_broken(record.ledger))
        self._client = self._connect(record.award)
        self._retired: list[WorkClient] = []

    @property
    def ledger(self) -> JobLedger:
        """The job's account."""
        return self.record.ledger

    @property
    def working(self) -> bool:
        """Whether leases are asked for."""
        return self.record.standing is Standing.WORKING

    def still_paid(self) -> None:
        """Raises BadTotal once a total was agreed to: whatever came after it could go unpaid.

        A consent is good for a settlement at any time, and such a settlement leaves nothing to be
        claimed by voucher.
        """
        if self.ledger.agreed is not None:
            raise BadTotal("asked for more work after the final total was agreed to")

    def price_is_right(self, grant: work_pb2.Grant) -> bool:
        """Whether a grant pays what was bid, within what the award can pay."""
        ask = self.record.bid.ask(grant.subtask)
        price = int(grant.price) if grant.price.isdecimal() and len(grant.price) <= 39 else -1
        needs = self.ledger.needs(grant.subtask, price)
        return ask is not None and price >= ask and needs <= self.ledger.cap

    async def renew(self, record: JobRecord) -> None:
        """A later award for the same job: a new round, or a coordinator that moved."""
        if _endpoint(record.award) != _endpoint(self.record.award):
            # calls under way end by themselves; the connection is dropped with the session
            self._retired.append(self._client)
            self._client = self._connect(record.award)
        # what was promised and earned since the record was read must not be lost
        ledger = self.ledger.recapped(record.ledger.cap)
        self.record = replace(record, ledger=ledger)
        self.silent_since_ms = None
        await self.save()

    async def lease(
        self, wait_ms: int, resident: Sequence[str], *, busy: bool = False
    ) -> work_pb2.LeaseReply:
        """Ask for work; raises as `WorkClient` does, and notes when nobody answers.

        Args:
            busy: No work can be taken now: only say that this node is there, and hear what is new.
        """
        request = work_pb2.LeaseRequest(
            job_id=self.job_id, wait_ms=wait_ms, resident=resident, busy=busy
        )
        try:
            reply = await self._client.lease(request)
        except (Unreachable, CallTimedOut):
            if self.silent_since_ms is None:
                self.silent_since_ms = self._node.clock_ms()
            raise
        self.silent_since_ms = None
        return reply

    @property
    def client(self) -> WorkClient:
        """For what needs no account: inputs, progress, giving a lease back."""
        return self._client

    async def deliver(
        self, grant: work_pb2.Grant, refs: Sequence[work_pb2.ArtifactRef], files: Sequence[Path]
    ) -> None:
        """Send a result while it is being paid for.

        Raises Unpaid when vouchers fall more than one chunk behind, BadVoucher for false ones,
        BadTotal where the final total was agreed to, and as `WorkClient.deliver` does. Whatever is
        raised, what was earned stays in the account.
        """
        header = work_pb2.DeliverHeader(
            job_id=self.job_id,
            subtask=grant.subtask,
            lease_token=grant.lease_token,
            outputs=refs,
        )
        self.still_paid()
        price, total = int(grant.price), sum(ref.size for ref in refs)
        chunk = chunk_size(total, MAX_CHUNK_BYTES)
        slack = delivered_share(price, min(chunk, total), total) + 1
        self._put(self.ledger.started(grant.subtask, price, total))

        async def on_reply(reply: work_pb2.DeliverReply) -> None:
            ledger = self._with_voucher(reply)
            self._put(ledger.accepted(grant.subtask, reply.accepted_bytes))
            if self._node.clock_ms() - self._saved_ms >= _SAVE_EVERY_MS:
                await self.save()
            self.still_paid()
            if self.ledger.behind(slack):
                raise Unpaid("the coordinator's vouchers fell behind", "its job is left alone")

        try:
            await self._client.deliver(header, files, on_reply, chunk_bytes=chunk)
        except BaseException:
            self._put(self.ledger.stopped(grant.subtask))
            raise
        finally:
            await asyncio.shield(self.save())

    async def attest(self, grant: work_pb2.Grant, attestation: Attestation) -> None:
        """Hand in the attestation and take the voucher over the full price.

        Raises Refused with the coordinator's reason, Unpaid, BadVoucher, BadTotal, Unreachable.
        """
        self.still_paid()
        signed = sign_attestation(self._node.domain, attestation, self._node.key)
        request = work_pb2.AttestRequest(
            lease_token=grant.lease_token, subtask=grant.subtask, attestation=signed
        )
        reply = await self._client.attest(request)
        if not reply.accepted:
            self._put(self.ledger.stopped(grant.subtask))
            await self.save()
            raise Refused("the attestation was not taken", reply.reason[:40] or "refused")
        self._put(self._with_voucher(reply).finished(grant.subtask, int(grant.price)))
        await self.save()
        if self.ledger.behind(0):
            raise Unpaid("the voucher does not cover the finished subtask", "its job is left alone")

    async def agree(self, settlement: work_pb2.Settlement) -> int:
        """Sign the final total if it is all that is owed; returns it. Raises BadTotal, Refused."""
        if settlement.job_id != self.job_id or not settlement.total.isdecimal():
            raise BadTotal("a settlement that is none")
        total = int(settlement.total[:40])
        if not self.ledger.may_agree(total):
            raise BadTotal(f"asked to agree to {total} wei; vouchers say {self.ledger.promised}")
        self._put(self.ledger.agree(total))
        await self.save()
        reply = await self._client.consent(sign_consent(self.parties, total, self._node.key))
        if not reply.accepted:
            raise Refused("the consent was not taken", reply.reason[:40] or "refused")
        return total

    async def give_back(
        self, grant: work_pb2.Grant, reason: str, message: str, retry: bool
    ) -> None:
        """Tell the coordinator that this lease comes to nothing. Best effort, one try."""
        request = work_pb2.FailRequest(
            job_id=self.job_id,
            subtask=grant.subtask,
            lease_token=grant.lease_token,
            reason=reason[:40],
            message=message[:500],
            retryable_here=retry,
        )
        try:
            await self._client.fail(request)
        except PeerError:
            return  # the lease expires by itself

    async def stop(self, reason: str) -> None:
        """Ask for no more work, and say why; pay is still awaited."""
        if self.working:
            self.record = self.record.stopped(reason)
            await self.save()

    async def save(self) -> None:
        """Write the job as it is now."""
        async with self._saving:
            self._saved_ms = self._node.clock_ms()
            await self._node.state.save_job(self.record)

    async def close(self) -> None:
        """Drop the connection, and any before it."""
        for client in (*self._retired, self._client):
            await client.close()

    def _with_voucher(self, reply: work_pb2.DeliverReply | work_pb2.AttestReply) -> JobLedger:
        if not reply.HasField("voucher"):
            return self.ledger
        ledger = take_voucher(self.ledger, reply.voucher, self.parties)
        if ledger.promised > ledger.cap:
            raise BadVoucher("a voucher over more than the award can pay")
        return ledger

    def _put(self, ledger: JobLedger) -> None:
        self.record = replace(self.record, ledger=ledger)

    def _connect(self, award: market_pb2.Award) -> WorkClient:
        return WorkClient(
            award.grpc_target,
            award.coordinator_certificate_der,
            self._node.certificate,
            coordinator=terms_of(award).coordinator,
            limits=self._node.limits,
            clock_ms=self._node.clock_ms,
        )


def _endpoint(award: market_pb2.Award) -> tuple[str, bytes]:
    return award.grpc_target, award.coordinator_certificate_der


def _settle_broken(ledger: JobLedger) -> JobLedger:
    """Deliveries that a crash cut off are over; what they earned stays."""
    for subtask in list(ledger.sending):
        ledger = ledger.stopped(subtask)
    return ledger
