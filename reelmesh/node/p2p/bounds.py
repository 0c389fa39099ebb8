"""What each market message may hold. A message out of bounds is refused whole.

Every number, text and list from another node is checked here once, so that the code behind may
take it as it is: sizes of byte fields, lengths of lists, finite non-negative numbers, money as
decimal text below 2**128, and times that fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from google.protobuf.message import Message

from reelmesh.errors import PeerError
from reelmesh.proto import market_pb2 as pb

MAX_SUBTASKS: Final = 2048
MAX_STAGES: Final = 64
MAX_PROOF_STEPS: Final = 64
MAX_CERTIFICATE_BYTES: Final = 4096
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_WEI: Final = re.compile(r"0|[1-9][0-9]{0,38}")
_MAX_WEI: Final = 2**128 - 1
_MAX_SECONDS: Final = 1e7
_MAX_UNITS: Final = 1e12


class OutOfBounds(PeerError):
    """A field is missing, too large, not finite, or not what its name says."""


def check_bounds(message: Message) -> None:
    """Raise OutOfBounds unless every field of this market message is within its bounds."""
    check = _CHECKS.get(type(message))
    if check is None:
        raise OutOfBounds(f"{message.DESCRIPTOR.name} is no market message")
    check(message)


def _need(ok: bool, what: str) -> None:
    if not ok:
        raise OutOfBounds(f"{what} is out of bounds")


def _size(value: bytes, size: int, what: str) -> None:
    _need(len(value) == size, what)


def _wei(text: str, what: str) -> None:
    _need(_WEI.fullmatch(text) is not None and int(text) <= _MAX_WEI, what)


def _real(value: float, most: float, what: str, least: float = 0.0) -> None:
    _need(math.isfinite(value) and least <= value <= most, what)


def _name(text: str, what: str) -> None:
    _need(_NAME.fullmatch(text) is not None, what)


def _model(text: str) -> None:
    if text:
        _name(text, "model")


def _text(text: str, most: int, what: str) -> None:
    _need(0 < len(text) <= most and text.isprintable(), what)


def _count(values: Any, least: int, most: int, what: str) -> None:
    _need(least <= len(values) <= most, what)


def _unique(values: Iterable[object], what: str) -> None:
    listed = list(values)
    _need(len(set(listed)) == len(listed), what)


def _ad(ad: pb.CapacityAd) -> None:
    _size(ad.chain_market, 20, "chain_market")
    _text(ad.device_class, 64, "device_class")
    _need(ad.slots <= 1024, "slots")
    _count(ad.rates, 0, MAX_STAGES, "rates")
    _unique(((r.stage, r.stage_version, r.model) for r in ad.rates), "rates")
    for rate in ad.rates:
        _stage_terms(rate)


def _stage_terms(terms: pb.Rate | pb.StageBid) -> None:
    _name(terms.stage, "stage")
    _model(terms.model)
    _size(terms.model_hash, 32 if terms.model else 0, "model_hash")
    _wei(terms.price_per_unit, "price_per_unit")
    _real(terms.seconds_per_unit, _MAX_SECONDS, "seconds_per_unit")


def _call(call: pb.Call) -> None:
    _size(call.job_id, 32, "job_id")
    _size(call.market, 20, "market")
    _size(call.plan_hash, 32, "plan_hash")
    _text(call.coordinator_peer, 256, "coordinator_peer")
    _count(call.subtasks, 1, MAX_SUBTASKS, "subtasks")
    _unique((s.id for s in call.subtasks), "subtasks")
    for subtask in call.subtasks:
        _name(subtask.id, "subtask id")
        _name(subtask.stage, "stage")
        _model(subtask.model)
        _real(subtask.units, _MAX_UNITS, "units")
        _wei(subtask.reserve, "reserve")


def _bid(bid: pb.Bid) -> None:
    _size(bid.job_id, 32, "job_id")
    _size(bid.nonce, 16, "nonce")
    _count(bid.stages, 0, MAX_STAGES, "stages")
    _unique(((s.stage, s.stage_version, s.model) for s in bid.stages), "stages")
    for stage in bid.stages:
        _stage_terms(stage)
    _count(bid.declined, 0, MAX_STAGES, "declined")
    for declined in bid.declined:
        _text(declined, 128, "declined")
    _need(bid.slots <= 1024, "slots")
    _real(bid.queue_seconds, _MAX_SECONDS, "queue_seconds")
    _real(bid.uplink_mbps, 1e6, "uplink_mbps")
    _count(bid.certificate_der, 0, MAX_CERTIFICATE_BYTES, "certificate_der")
    _text(bid.device_class, 64, "device_class")


def _award(award: pb.Award) -> None:
    _size(award.job_id, 32, "job_id")
    _size(award.provider, 20, "provider")
    _count(award.subtasks, 1, MAX_SUBTASKS, "subtasks")
    _unique((s.id for s in award.subtasks), "subtasks")
    for subtask in award.subtasks:
        _name(subtask.id, "subtask id")
        _wei(subtask.price, "price")
    _wei(award.cap, "cap")
    _size(award.awards_root, 32, "awards_root")
    _wei(award.awards_sum, "awards_sum")
    _count(award.proof, 0, MAX_PROOF_STEPS, "proof")
    for step in award.proof:
        _size(step.hash, 32, "proof")
        _wei(step.sum, "proof")
    _terms(award.terms)
    _text(award.award_tx, 66, "award_tx")
    _text(award.grpc_target, 256, "grpc_target")
    _count(award.coordinator_certificate_der, 1, MAX_CERTIFICATE_BYTES, "certificate")


def _terms(terms: pb.Terms) -> None:
    _size(terms.buyer, 20, "buyer")
    _size(terms.coordinator, 20, "coordinator")
    _size(terms.asset, 20, "asset")
    _wei(terms.budget, "budget")
    _size(terms.spec_hash, 32, "spec_hash")


def _loss(loss: pb.Loss) -> None:
    _size(loss.job_id, 32, "job_id")
    _count(loss.subtasks, 0, MAX_SUBTASKS, "subtasks")
    for subtask in loss.subtasks:
        _name(subtask.id, "subtask id")
        _name(subtask.reason, "reason")
        if subtask.winning_price:
            _wei(subtask.winning_price, "winning_price")


def _reply(reply: pb.BidReply) -> None:
    if reply.reason:
        _text(reply.reason, 200, "reason")


_CHECKS: Final[dict[type[Message], Callable[[Any], None]]] = {
    pb.CapacityAd: _ad,
    pb.Call: _call,
    pb.Bid: _bid,
    pb.Award: _award,
    pb.Loss: _loss,
    pb.BidReply: _reply,
}
