"""What a provider bids, and why it does not. Pure: time and load come in as arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reelmesh.proto import market_pb2
from reelmesh.scheduler.ids import Wei
from reelmesh.scheduler.models import offering

MAX_SUBTASKS = 4096


@dataclass(frozen=True)
class StageRate:
    """What one stage costs this machine.

    Attributes:
        seconds_per_unit: Measured here, > 0.
        memory_mb: Peak seen.
        resident: Its model is loaded now.
        model: The production model that runs it; "" for the stage's embedded backend.
        model_hash: 32 bytes that name the model's files; stated with a model.
    """

    stage: str
    stage_version: int
    seconds_per_unit: float
    memory_mb: int
    resident: bool = False
    model: str = ""
    model_hash: bytes = b""

    @property
    def offering(self) -> str:
        """The stage, with the production model where one runs it."""
        return offering(self.stage, self.model)


@dataclass(frozen=True)
class PricePolicy:
    """How prices are made, in wei.

    A stage's floor is `price_floors[stage]` per unit where it is given, otherwise measured seconds
    x `threads` x `wei_per_cpu_second` x (1 + `margin`). `busy_surcharge` is added, as a fraction,
    for each slot that is taken.
    """

    threads: int
    wei_per_cpu_second: int
    margin: float = 0.0
    busy_surcharge: float = 0.0
    price_floors: Mapping[str, int] = field(default_factory=dict)

    def floor(self, rate: StageRate) -> Wei:
        """Least price per unit when nothing else runs here."""
        given = self.price_floors.get(rate.offering)
        if given is not None:
            return Wei(given)
        cost = rate.seconds_per_unit * self.threads * self.wei_per_cpu_second
        return Wei(math.ceil(cost * (1 + self.margin)))

    def price(self, rate: StageRate, busy_slots: int) -> Wei:
        """Price per unit asked now."""
        return Wei(math.ceil(self.floor(rate) * (1 + self.busy_surcharge * busy_slots)))


@dataclass(frozen=True)
class Standing:
    """The provider as it stands when a call comes in.

    Attributes:
        rates: By offering; what is missing is not offered.
        memory_mb: Device memory for one run.
        busy_slots: Slots at work.
        queue_s: Seconds of awarded work before a new subtask could start.
        accepting: False while the node shuts down.
    """

    chain_id: int
    market: bytes
    rates: Mapping[str, StageRate]
    memory_mb: int
    busy_slots: int
    queue_s: float
    accepting: bool = True


@dataclass(frozen=True)
class Decision:
    """A bid, or none.

    Attributes:
        stages: What is bid on; empty when there is no bid.
        declined: Stage to reason code, for stages of the call that are not bid on.
        refused: Reason code when the call as a whole is not for this node, else "".
    """

    stages: tuple[market_pb2.StageBid, ...] = ()
    declined: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

    @property
    def bids(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.stages)


def decide(call: market_pb2.Call, standing: Standing, policy: PricePolicy, now_ms: int) -> Decision:
    """Bid on every stage of the call that this node can run in time and at its price."""
    refused = _refuse(call, standing, now_ms)
    if refused:
        return Decision(refused=refused)
    by_stage: dict[str, list[market_pb2.SubtaskOffer]] = {}
    for offer in call.subtasks:
        by_stage.setdefault(offering(offer.stage, offer.model), []).append(offer)
    left_s = (call.deadline_ms - now_ms) / 1000 - standing.queue_s
    bids: list[market_pb2.StageBid] = []
    declined: dict[str, str] = {}
    for stage, offers in by_stage.items():
        rate = standing.rates.get(stage)
        reason = _decline(offers, rate, standing, policy, left_s)
        if reason or rate is None:
            declined[stage] = reason
            continue
        bids.append(
            market_pb2.StageBid(
                stage=rate.stage,
                stage_version=rate.stage_version,
                model=rate.model,
                model_hash=rate.model_hash,
                price_per_unit=str(policy.price(rate, standing.busy_slots)),
                seconds_per_unit=rate.seconds_per_unit,
                memory_mb=rate.memory_mb,
                resident=rate.resident,
            )
        )
    return Decision(tuple(bids), declined)


def _refuse(call: market_pb2.Call, standing: Standing, now_ms: int) -> str:
    if call.chain_id != standing.chain_id:
        return "wrong_chain"
    if call.market != standing.market:
        return "wrong_market"
    if not standing.accepting:
        return "shutting_down"
    if len(call.job_id) != 32 or not 0 < len(call.subtasks) <= MAX_SUBTASKS:
        return "malformed"
    if any(not _sane(offer) for offer in call.subtasks):
        return "malformed"
    if now_ms >= call.closes_at_ms:
        return "call_closed"
    if now_ms >= call.deadline_ms:
        return "deadline_passed"
    return ""


def _sane(offer: market_pb2.SubtaskOffer) -> bool:
    return (
        math.isfinite(offer.units)
        and 0 < offer.units <= 1e9
        and offer.reserve.isdecimal()
        and len(offer.reserve) <= 39
    )


def _decline(
    offers: Sequence[market_pb2.SubtaskOffer],
    rate: StageRate | None,
    standing: Standing,
    policy: PricePolicy,
    left_s: float,
) -> str:
    """Why a stage is not bid on; "" when it is. One subtask that fits is reason enough to bid."""
    if rate is None:
        return "model_not_offered" if offers[0].model else "stage_not_offered"
    known = [offer for offer in offers if offer.stage_version == rate.stage_version]
    if not known:
        return "other_version"
    fits = [o for o in known if max(o.memory_mb, rate.memory_mb) <= standing.memory_mb]
    if not fits:
        return "no_memory"
    in_time = [offer for offer in fits if offer.units * rate.seconds_per_unit <= left_s]
    if not in_time:
        return "too_slow"
    price = policy.price(rate, standing.busy_slots)
    if not any(math.ceil(float(price) * o.units) <= int(o.reserve) for o in in_time):
        return "over_reserve"
    return ""
