"""Which code runs which effect."""

from __future__ import annotations

from reelmesh.node.coordinator import awarding, calling, delivering, escrow, settling
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.scheduler.job import effects as fx


async def run_effect(job: JobDriver, effect: fx.Standing | fx.Once) -> None:
    """Run one effect to its end; every one may be run again."""
    match effect:
        case fx.SubmitEscrow():
            await escrow.submit_escrow(job)
        case fx.PublishCall():
            await calling.publish_call(job, effect)
        case fx.ClearBids():
            await calling.clear_bids(job, effect)
        case fx.CommitAwards():
            await awarding.commit_awards(job, effect)
        case fx.SendAward():
            await awarding.send_award(job, effect)
        case fx.SendLosses():
            await awarding.send_losses(job, effect)
        case fx.SubmitSettlement():
            await settling.submit_settlement(job)
        case fx.DeliverResult():
            await delivering.deliver_result(job)
        case fx.SubmitRefund():
            await settling.submit_refund(job, effect)
        case fx.RaiseVoucher() | fx.CancelLease() | fx.WakeProviders():
            # Vouchers are signed and leases looked up when a provider's call is answered, and
            # whoever waits for work wakes at every change of state.
            return
