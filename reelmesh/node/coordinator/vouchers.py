"""Signing vouchers over what the journal says was promised."""

from __future__ import annotations

from reelmesh.contracts import eip712
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import NodeAddress


def signed_voucher(job: JobDriver, provider: NodeAddress) -> work_pb2.SignedVoucher:
    """The provider's voucher over its whole pay so far.

    The amount is read from the state, and the state is what is on disk; the signature follows from
    the amount alone. So a voucher that was sent can be made again after any crash.
    """
    amount = job.state.providers[provider].promised
    voucher = eip712.Voucher(job.record.job_bytes, provider, amount)
    return work_pb2.SignedVoucher(
        job_id=job.record.job_bytes,
        provider=bytes.fromhex(provider[2:]),
        amount=str(amount),
        signature=eip712.sign(job.record.domain, voucher, job.services.key),
    )
