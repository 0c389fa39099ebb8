"""Every field of a market message is bounded: one good message each, and what spoils it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from reelmesh.node.p2p.bounds import MAX_SUBTASKS, OutOfBounds, check_bounds
from reelmesh.proto import market_pb2 as pb


def _ad() -> pb.CapacityAd:
    rate = pb.Rate(stage="upscale", stage_version=1, seconds_per_unit=1.5, price_per_unit="7")
    return pb.CapacityAd(chain_market=b"m" * 20, device_class="cpu-x86_64", slots=1, rates=[rate])


def _call() -> pb.Call:
    offer = pb.SubtaskOffer(id="upscale-0", stage="upscale", units=2.0, reserve="100")
    return pb.Call(
        job_id=b"j" * 32,
        market=b"m" * 20,
        plan_hash=b"p" * 32,
        subtasks=[offer],
        coordinator_peer="/ip4/1.2.3.4/tcp/1/p2p/x",
    )


def _bid() -> pb.Bid:
    stage = pb.StageBid(stage="upscale", stage_version=1, price_per_unit="0", seconds_per_unit=0.1)
    return pb.Bid(job_id=b"j" * 32, nonce=b"n" * 16, stages=[stage], device_class="cuda-sm90")


def _award() -> pb.Award:
    return pb.Award(
        job_id=b"j" * 32,
        provider=b"p" * 20,
        subtasks=[pb.AwardedSubtask(id="upscale-0", price="1")],
        cap="1",
        awards_root=b"r" * 32,
        awards_sum="1",
        proof=[pb.SumProofStep(hash=b"h" * 32, sum="1")],
        terms=pb.Terms(
            buyer=b"b" * 20, coordinator=b"c" * 20, asset=b"a" * 20, budget="1", spec_hash=b"s" * 32
        ),
        award_tx="0x" + "0" * 64,
        grpc_target="localhost:1",
        coordinator_certificate_der=b"c",
    )


def _loss() -> pb.Loss:
    lost = pb.LostSubtask(id="upscale-0", reason="outbid", winning_price="")
    return pb.Loss(job_id=b"j" * 32, subtasks=[lost])


Make = Callable[[], Message]


@pytest.mark.parametrize("make", [_ad, _call, _bid, _award, _loss, pb.BidReply])
def test_a_good_message_passes(make: Make) -> None:
    check_bounds(make())


SPOILED: list[tuple[Make, str, object]] = [
    (_ad, "chain_market", b"m" * 19),
    (_ad, "device_class", ""),
    (_ad, "device_class", "x" * 65),
    (_ad, "device_class", "two\nlines"),
    (_ad, "slots", 100_000),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="1")] * 2),
    (_ad, "rates", [pb.Rate(stage=f"s{n}", price_per_unit="1") for n in range(65)]),
    (_ad, "rates", [pb.Rate(stage="Ä", price_per_unit="1")]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="")]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="-1")]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="1e9")]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="٣")]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="007")]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit=str(2**128))]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="9" * 100_000)]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="1", seconds_per_unit=float("nan"))]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="1", seconds_per_unit=float("inf"))]),
    (_ad, "rates", [pb.Rate(stage="a", price_per_unit="1", seconds_per_unit=-1)]),
    (_call, "job_id", b""),
    (_call, "market", b""),
    (_call, "plan_hash", b"x"),
    (_call, "subtasks", []),
    (_call, "subtasks", [pb.SubtaskOffer(id="a", stage="a", reserve="1")] * 2),
    (
        _call,
        "subtasks",
        [pb.SubtaskOffer(id=f"a-{n}", stage="a", reserve="1") for n in range(MAX_SUBTASKS + 1)],
    ),
    (_call, "subtasks", [pb.SubtaskOffer(id="../a", stage="a", reserve="1")]),
    (_call, "subtasks", [pb.SubtaskOffer(id="a", stage="a", reserve="1", units=float("inf"))]),
    (_call, "coordinator_peer", "x" * 257),
    (_bid, "nonce", b"n" * 15),
    (_bid, "queue_seconds", float("nan")),
    (_bid, "uplink_mbps", -1.0),
    (_bid, "certificate_der", b"x" * 4097),
    (_bid, "declined", ["x" * 129]),
    (_bid, "declined", ["x"] * 65),
    (_bid, "stages", [pb.StageBid(stage="a", price_per_unit="1")] * 2),
    (_award, "provider", b""),
    (_award, "subtasks", []),
    (_award, "cap", "1.5"),
    (_award, "awards_root", b""),
    (_award, "proof", [pb.SumProofStep(hash=b"h" * 32, sum="1")] * 65),
    (_award, "proof", [pb.SumProofStep(hash=b"h", sum="1")]),
    (_award, "terms", pb.Terms()),
    (_award, "grpc_target", ""),
    (_award, "coordinator_certificate_der", b""),
    (_loss, "subtasks", [pb.LostSubtask(id="a", reason="Because I say so")]),
    (_loss, "subtasks", [pb.LostSubtask(id="a", reason="outbid", winning_price="x")]),
    (pb.BidReply, "reason", "x" * 201),
    (pb.BidReply, "reason", "\x1b[2J"),
]


@pytest.mark.parametrize(("make", "field", "value"), SPOILED)
def test_one_bad_field_refuses_the_message(make: Make, field: str, value: object) -> None:
    message = make()
    message.ClearField(field)
    if isinstance(value, list):
        getattr(message, field).extend(value)
    elif isinstance(value, Message):
        getattr(message, field).CopyFrom(value)
    else:
        setattr(message, field, value)
    with pytest.raises(OutOfBounds):
        check_bounds(message)


def test_no_other_message_is_taken() -> None:
    with pytest.raises(OutOfBounds, match="no market message"):
        check_bounds(pb.Envelope())
