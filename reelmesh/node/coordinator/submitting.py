"""From a buyer's request to a job that is written down, with everything checked before."""

from __future__ import annotations

import asyncio
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelmesh.contracts import chain
from reelmesh.errors import UserError
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.coordinator.escrow import missing_credit
from reelmesh.node.coordinator.records import JobRecord, Reused, TermsRecord
from reelmesh.node.coordinator.reusing import this_release
from reelmesh.node.coordinator.services import Services
from reelmesh.scheduler.cost import REFERENCE, BudgetTooLow, ReferenceRate, least_budget, reserves
from reelmesh.scheduler.ids import MAX_WEI, JobId, SubtaskId, Wei, ether
from reelmesh.scheduler.job.state import Limits
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.spec import JobSpec, parse_spec
from reelmesh.scheduler.templates import make_plan

RESERVE_PARTS = 2
"""One part in so many of a budget is offered at first, where that is not too little; the rest pays
for work that must be done again when a provider fails, and comes back when none does."""
_SHORTEST_DEADLINE_S = 60
_LONGEST_DEADLINE_S = 30 * 86_400
_GAS_RESERVE_WEI = 10**15
_REORG_BLOCKS = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


REUSE = ("off", "exact", "similar")
"""What of earlier jobs a new one may take in. Besides, `like:JOB` takes in the same work, and goes
on from the clip that this earlier job took from a similar prompt."""
_LIKE = re.compile(r"like:(0x[0-9a-f]{64})")


class BadRequest(UserError):
    """A submission that cannot be taken as it stands; nothing was posted."""


class NotEnoughCoins(UserError):
    """The buyer's account cannot pay the budget and the gas."""


@dataclass(frozen=True)
class Request:
    """A submission whose form is right.

    Attributes:
        plan: Of the template; `reuse` says whether what is kept is taken out of it.
    """

    spec: JobSpec
    plan: Plan
    budget: Wei
    reuse: str
    deadline_s: int
    out_dir: Path
    name: str
    request_id: str | None
    source_files: Mapping[str, Path]


def parse_request(
    *,
    spec_json: str,
    budget: str,
    deadline_s: int,
    out_dir: str,
    name: str,
    request_id: str,
    sources: Sequence[tuple[str, str]] = (),
    reuse: str = "off",
) -> Request:
    """Check all that can be checked without the chain and what is kept. Raises UserError."""
    spec = parse_spec(spec_json)
    plan = make_plan(spec)
    amount = _amount(budget)
    if not _SHORTEST_DEADLINE_S <= deadline_s <= _LONGEST_DEADLINE_S:
        raise BadRequest(
            f"a deadline of {deadline_s} s is not possible", "give 60 s to 30 days from now"
        )
    if not Path(out_dir).is_absolute():
        raise BadRequest("the output folder must be an absolute path")
    if not _NAME.fullmatch(name):
        raise BadRequest(
            "the output's name has characters that a file name should not have",
            "use letters, digits, dots, dashes and underscores",
        )
    check_reuse(reuse)
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        raise BadRequest("the request id has characters that it should not have")
    return Request(
        spec=spec,
        plan=plan,
        budget=amount,
        reuse=reuse,
        deadline_s=deadline_s,
        out_dir=Path(out_dir),
        name=name,
        request_id=request_id or None,
        source_files=_source_files(spec, sources),
    )


def check_reuse(reuse: str) -> None:
    """Raises BadRequest for a word that says nothing."""
    if reuse not in REUSE and like_job(reuse) is None:
        raise BadRequest(f"reuse {reuse[:20]!r} is not known", f"it is one of {', '.join(REUSE)}")


def like_job(reuse: str) -> JobId | None:
    """The job whose clip is gone on from; None where the word names none."""
    found = _LIKE.fullmatch(reuse)
    return JobId(found[1]) if found else None


def _source_files(spec: JobSpec, sources: Sequence[tuple[str, str]]) -> dict[str, Path]:
    files = {name: Path(path) for name, path in sources}
    if not set(files) <= set(spec.sources()) or len(files) != len(sources):
        wanted = ", ".join(spec.sources()) or "none"
        raise BadRequest(f"a job of kind {spec.kind} takes these files with it: {wanted}")
    if not all(path.is_absolute() for path in files.values()):
        raise BadRequest("a source's path must be absolute")
    return files


def first_reserves(
    config: CoordinatorConfig, plan: Plan, budget: Wei, whole: Plan | None = None
) -> dict[SubtaskId, Wei]:
    """The most paid for each subtask at first. Raises BudgetTooLow, which names the least.

    whole: the plan before what is kept was taken out of it. The budget was offered for all of that:
    what is left is not paid better because the rest costs nothing.
    """
    rates = reference_rates(config)
    least = least_budget(plan, rates)
    if budget < least:
        raise BudgetTooLow(budget, least)
    share = budget // RESERVE_PARTS
    if whole is not None:
        share = share * least // least_budget(whole, rates)
    return reserves(plan, Wei(max(least, share)), rates)


def reference_rates(config: CoordinatorConfig) -> dict[str, ReferenceRate]:
    """The catalogue's reference rates with this node's own in their place."""
    own = {
        stage: ReferenceRate(seconds_per_unit=r.seconds_per_unit, wei_per_unit=r.wei_per_unit)
        for stage, r in config.reference_rates.items()
    }
    return {**REFERENCE, **own}


def limits_for(config: CoordinatorConfig, deadline_s: int) -> Limits:
    """The waits of a job, from the node's configuration and the job's own time."""
    return Limits(
        bid_window_ms=math.ceil(config.bid_window_s * 1000),
        lease_ms=math.ceil(config.lease_s * 1000),
        take_up_ms=max(20_000, math.ceil(config.lease_s * 2000)),
        settle_margin_ms=min(20_000, deadline_s * 100),
    )


async def make_record(
    services: Services, request: Request, plan: Plan, reused: tuple[Reused, ...] = ()
) -> JobRecord:
    """The job as it will be posted next. Raises BadRequest, NotEnoughCoins, ChainError.

    The caller holds `services.posting` until the posting is decided.
    """
    await _check_coins(services, request.budget)
    await check_out_dir(request.out_dir)
    created_ms = services.clock_ms()
    terms = await services.market.plan_post(
        bytes.fromhex(request.spec.spec_hash()),
        request.budget,
        created_ms // 1000 + request.deadline_s,
        services.config.claim_window_s,
        services.key.address,
    )
    return JobRecord(
        job_id=JobId("0x" + terms.job_id(services.domain).hex()),
        created_ms=created_ms,
        chain_id=services.domain.chain_id,
        market=services.domain.market,
        terms=TermsRecord.of(terms),
        spec=request.spec,
        plan=plan,
        reused=reused,
        out_dir=request.out_dir,
        name=request.name,
        from_block=await _block_now(services),
        release=this_release(),
    )


async def check_out_dir(folder: Path) -> None:
    """Raises BadRequest where a result could not be written: that must not show after the work."""
    await asyncio.to_thread(_check_out_dir, folder)


def _check_out_dir(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadRequest(
            f"the output folder {folder} cannot be written to: {error.strerror}",
            "choose another folder, or make room there",
        ) from error


async def _block_now(services: Services) -> int:
    """A block before the posting, however the chain is reorganised meanwhile."""
    async with chain.rpc_errors("eth_blockNumber"):
        latest = int(await services.market.w3.eth.block_number)
    return max(services.from_block, latest - _REORG_BLOCKS)


async def _check_coins(services: Services, budget: Wei) -> None:
    missing = await missing_credit(services, budget)
    balance = await services.market.sender.balance()
    needed = missing + _GAS_RESERVE_WEI
    if balance < needed:
        raise NotEnoughCoins(
            f"the account {services.key.address} has {ether(balance)} ether; "
            f"this job needs {ether(needed)} with gas",
            "send it coins, or offer a smaller budget",
        )


def _amount(text: str) -> Wei:
    if not text.isascii() or not text.isdecimal() or len(text) > 39 or int(text) > MAX_WEI:
        raise BadRequest("the budget is not an amount of wei", "give a whole number of wei")
    return Wei(int(text))
