"""Committing the awards on chain, and telling winners and losers."""

from __future__ import annotations

import asyncio

import structlog

from reelmesh.contracts import merkle
from reelmesh.contracts.errors import ChainInconsistent, TxReverted
from reelmesh.contracts.events import Amended, Awarded
from reelmesh.contracts.terms import Phase as ChainPhase
from reelmesh.errors import PeerError
from reelmesh.node.coordinator.chainside import Found, gas_of, look_up
from reelmesh.node.coordinator.driver import JobDriver
from reelmesh.proto import market_pb2
from reelmesh.scheduler.ids import NodeAddress
from reelmesh.scheduler.job import effects as fx
from reelmesh.scheduler.job.events import AwardConfirmed, AwardDeclined, AwardRejected
from reelmesh.scheduler.job.state import JobState, Leaf

log = structlog.stdlib.get_logger(__name__)

_RESEND_S = (0.5, 10.0)
_REFUSALS = 3
_AWARD_LIFE_MS = 6 * 86_400_000
_MOST_LOSSES = 2_000


def tree(leaves: tuple[Leaf, ...]) -> list[merkle.Leaf]:
    """Leaves as the awards' tree takes them."""
    return [(leaf.provider, leaf.cap) for leaf in leaves]


async def commit_awards(job: JobDriver, effect: fx.CommitAwards) -> None:
    """Bring the tree on chain, unless it is there."""
    services, terms = job.services, job.record.terms.terms()
    target, total = merkle.sum_root(tree(effect.leaves))
    found = await look_up(services, job.record)
    if found.state.phase is ChainPhase.AWARDED and found.state.root == target:
        await _confirm_known(job, effect, found)
        return
    try:
        if found.state.phase is ChainPhase.OPEN:
            result = await services.market.award(terms, target, total)
        elif found.state.phase is ChainPhase.AWARDED:
            result = await services.market.amend(
                terms, _committed(job.state, found), tree(effect.leaves)
            )
        else:
            await _reject(job, effect, "job_is_closed", f"on chain it is {found.state.phase}")
            return
    except TxReverted as error:
        again = await look_up(services, job.record)
        if again.state.root == target:
            raise  # it was there all along: the next try confirms it
        await _reject(job, effect, error.error or "award_reverted", str(error))
        return
    await _confirm(job, effect, result.tx_hash, result.gas_used)


async def send_award(job: JobDriver, effect: fx.SendAward) -> None:
    """Tell a winner, again and again, until it has taken the award or refused it."""
    services = job.services
    offer = job.state.offers[effect.provider]
    services.server.allow(effect.provider, bytes.fromhex(offer.certificate))
    award = award_message(job, effect)
    wait_s, refused = _RESEND_S[0], 0
    while True:
        try:
            if await services.network.send_award(offer.peer_id, award):
                return
            refused += 1
        except PeerError as error:
            log.info("award_not_sent", provider=effect.provider, why=str(error))
        if refused >= _REFUSALS and not _has_worked(job.state, effect.provider):
            declined = AwardDeclined(
                at_ms=services.clock_ms(), provider=effect.provider, reason="refused"
            )
            await job.feed(declined)
            return
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 1.6, _RESEND_S[1])


async def send_losses(job: JobDriver, effect: fx.SendLosses) -> None:
    """Tell each bidder once, as well as it goes, what it did not win and why."""
    now_ms = job.services.clock_ms()
    by_provider: dict[NodeAddress, list[market_pb2.LostSubtask]] = {}
    for loss in job.state.losses:
        lost = market_pb2.LostSubtask(
            id=loss.subtask, reason=loss.reason, winning_price=str(loss.winning_price)
        )
        by_provider.setdefault(loss.provider, []).append(lost)
    messages = [
        (
            job.state.offers[provider].peer_id,
            market_pb2.Loss(
                job_id=job.record.job_bytes,
                round=effect.round,
                subtasks=subtasks[:_MOST_LOSSES],
                issued_at_ms=now_ms,
            ),
        )
        for provider, subtasks in by_provider.items()
    ]
    sent = (job.services.network.send_loss(peer, loss) for peer, loss in messages)
    for result in await asyncio.gather(*sent, return_exceptions=True):
        if isinstance(result, PeerError):
            log.debug("loss_not_sent", why=str(result))
        elif isinstance(result, BaseException):
            raise result


def award_message(job: JobDriver, effect: fx.SendAward) -> market_pb2.Award:
    """What a provider is told: its subtasks, its cap with proof, and where to dial."""
    state, record, server = job.state, job.record, job.services.server
    account, leaves, terms = state.providers[effect.provider], tree(state.leaves), record.terms
    root, total = merkle.sum_root(leaves)
    now_ms = job.services.clock_ms()
    return market_pb2.Award(
        job_id=record.job_bytes,
        round=account.round,
        provider=bytes.fromhex(effect.provider[2:]),
        subtasks=[
            market_pb2.AwardedSubtask(id=won.subtask, price=str(won.price))
            for won in account.awarded
        ],
        cap=str(account.cap),
        awards_root=root,
        awards_sum=str(total),
        proof=[
            market_pb2.SumProofStep(hash=step.hash, sum=str(step.sum), left=step.left)
            for step in merkle.sum_proof(leaves, effect.provider)
        ],
        terms=market_pb2.Terms(
            buyer=bytes.fromhex(terms.buyer[2:]),
            nonce=terms.nonce,
            coordinator=bytes.fromhex(terms.coordinator[2:]),
            asset=bytes.fromhex(terms.asset[2:]),
            budget=str(terms.budget),
            deadline=terms.deadline,
            claim_window=terms.claim_window,
            spec_hash=bytes.fromhex(terms.spec_hash[2:]),
        ),
        award_tx=state.award_tx,
        grpc_target=server.target,
        coordinator_certificate_der=server.certificate_der,
        issued_at_ms=now_ms,
        expires_at_ms=min(now_ms + _AWARD_LIFE_MS, state.deadline_ms),
    )


def _has_worked(state: JobState, provider: NodeAddress) -> bool:
    """Whether it has taken a lease before: then a refusal is of a repeated award."""
    account = state.providers[provider]
    return account.promised > 0 or any(
        s.lease is not None and s.lease.provider == provider for s in state.subtasks.values()
    )


def _committed(state: JobState, found: Found) -> list[merkle.Leaf]:
    """The leaves of the tree that is on chain now. Raises ChainInconsistent if it is not ours."""
    for leaves in (state.leaves, state.maybe_leaves):
        if leaves and merkle.sum_root(tree(leaves))[0] == found.state.root:
            return tree(leaves)
    raise ChainInconsistent("the awards on chain are not the ones known here", "it is asked again")


async def _confirm_known(job: JobDriver, effect: fx.CommitAwards, found: Found) -> None:
    if effect.leaves == job.state.leaves:
        await _confirm(job, effect, "", 0)  # these awards fit under the caps that are on chain
        return
    latest = found.last(Amended) or found.last(Awarded)
    assert latest is not None
    await _confirm(job, effect, latest.tx_hash, await gas_of(job.services, latest.tx_hash))


async def _confirm(job: JobDriver, effect: fx.CommitAwards, tx: str, gas: int) -> None:
    root = "0x" + merkle.sum_root(tree(effect.leaves))[0].hex()
    at_ms = job.services.clock_ms()
    await job.feed(AwardConfirmed(at_ms=at_ms, round=effect.round, root=root, tx=tx, gas=gas))


async def _reject(job: JobDriver, effect: fx.CommitAwards, reason: str, hint: str) -> None:
    at_ms = job.services.clock_ms()
    await job.feed(AwardRejected(at_ms=at_ms, round=effect.round, reason=reason, hint=hint))
