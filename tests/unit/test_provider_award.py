"""An award that a provider should not work for is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reelmesh.contracts import merkle
from reelmesh.node.provider.award import AwardRefused, SentBid, check_award, terms_of
from reelmesh.node.rpc.certs import make_certificate
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2
from reelmesh.scheduler.spec import TextToVideo
from reelmesh.scheduler.stages import entry
from reelmesh.scheduler.templates import make_plan

NOW = 1_800_000_000_000
COORDINATOR, ME, OTHER = NodeKey.generate(), NodeKey.generate(), NodeKey.generate()
BID = SentBid(
    coordinator=COORDINATOR.address,
    round=0,
    deadline_ms=NOW + 600_000,
    prices={"upscale": 100},
    work={"upscale-0": ("upscale", 2.5), "upscale-1": ("upscale", 2.5)},
    seconds_per_unit={"upscale": 0.5},
)


def raw(key: NodeKey) -> bytes:
    return bytes.fromhex(key.address[2:])


def make_award(**fields: object) -> market_pb2.Award:
    leaves = [(ME.address, 600), (OTHER.address, 400)]
    root, total = merkle.sum_root(leaves)
    proof = [
        market_pb2.SumProofStep(hash=step.hash, sum=str(step.sum), left=step.left)
        for step in merkle.sum_proof(leaves, ME.address)
    ]
    terms = market_pb2.Terms(
        buyer=raw(OTHER),
        nonce=1,
        coordinator=raw(COORDINATOR),
        asset=bytes(20),
        budget="1000",
        deadline=NOW // 1000 + 600,
        claim_window=3600,
        spec_hash=b"s" * 32,
    )
    values: dict[str, object] = {
        "job_id": b"j" * 32,
        "provider": raw(ME),
        "subtasks": [
            market_pb2.AwardedSubtask(id="upscale-0", price="250"),
            market_pb2.AwardedSubtask(id="upscale-1", price="350"),
        ],
        "cap": "600",
        "awards_root": root,
        "awards_sum": str(total),
        "proof": proof,
        "terms": terms,
        "grpc_target": "127.0.0.1:1",
        "coordinator_certificate_der": make_certificate(COORDINATOR, NOW, 3600).der,
        "issued_at_ms": NOW,
        "expires_at_ms": NOW + 60_000,
    }
    return market_pb2.Award(**{**values, **fields})


def test_a_good_award_is_taken() -> None:
    check_award(make_award(), COORDINATOR.address, ME.address, BID, NOW)


def test_its_terms_are_the_contracts() -> None:
    terms = terms_of(make_award())
    assert (terms.coordinator, terms.budget, terms.claim_window) == (
        COORDINATOR.address,
        1000,
        3600,
    )


def subtask(name: str, price: str) -> list[market_pb2.AwardedSubtask]:
    return [market_pb2.AwardedSubtask(id=name, price=price)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"provider": raw(OTHER)}, "not_for_me"),
        ({"expires_at_ms": NOW}, "expired"),
        ({"subtasks": subtask("upscale-0", "249")}, "under_bid"),
        ({"subtasks": subtask("upscale-9", "999")}, "no_bid"),
        ({"subtasks": []}, "malformed"),
        ({"subtasks": subtask("upscale-0", "1") * 2}, "malformed"),
        ({"subtasks": subtask("upscale-0", "x")}, "malformed"),
        ({"subtasks": subtask("upscale-0", "601")}, "cap_too_low"),
        ({"cap": "601"}, "bad_proof"),
        ({"awards_sum": "999"}, "bad_proof"),
        ({"awards_sum": "1001"}, "over_budget"),
        ({"awards_root": b"r" * 32}, "bad_proof"),
        ({"proof": []}, "bad_proof"),
        ({"coordinator_certificate_der": b"junk"}, "bad_certificate"),
        (
            {"coordinator_certificate_der": make_certificate(OTHER, NOW, 3600).der},
            "bad_certificate",
        ),
    ],
)
def test_a_bad_award_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(AwardRefused) as caught:
        check_award(make_award(**fields), COORDINATOR.address, ME.address, BID, NOW)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: setattr(t, "asset", b"t" * 20), "other_asset"),
        (lambda t: setattr(t, "claim_window", 59), "claim_window"),
        (lambda t: setattr(t, "deadline", NOW // 1000), "expired"),
        (lambda t: setattr(t, "coordinator", raw(OTHER)), "not_the_coordinator"),
        (lambda t: setattr(t, "coordinator", b"short"), "malformed"),
    ],
)
def test_bad_terms_are_refused(change: Callable[[market_pb2.Terms], None], reason: str) -> None:
    award = make_award()
    change(award.terms)
    with pytest.raises(AwardRefused) as caught:
        check_award(award, COORDINATOR.address, ME.address, BID, NOW)
    assert caught.value.reason == reason


def test_an_award_without_a_bid_is_refused() -> None:
    with pytest.raises(AwardRefused) as caught:
        check_award(make_award(), COORDINATOR.address, ME.address, None, NOW)
    assert caught.value.reason == "no_bid"


def test_an_award_by_another_than_who_called_is_refused() -> None:
    with pytest.raises(AwardRefused) as caught:
        check_award(make_award(), OTHER.address, ME.address, BID, NOW)
    assert caught.value.reason == "not_the_coordinator"


def test_a_later_bid_adds_to_an_earlier_one() -> None:
    later = BID.model_copy(
        update={"round": 1, "prices": {"decode": 5}, "work": {"decode": ("decode", 2.0)}}
    )
    both = later.after(BID)
    assert (both.ask("decode"), both.ask("upscale-0"), both.ask("other")) == (10, 250, None)
    assert both.round == 1
    assert both.seconds("upscale-0") == 1.25


def test_inputs_are_bounded_by_what_the_call_said() -> None:
    bid = BID.model_copy(update={"bytes_in": {"upscale-0": 10 << 20}})
    assert bid.most_bytes_in("upscale-0", 1) == 81 << 20
    assert bid.most_bytes_in("upscale-1", 2) == 2 << 20  # nothing was said of it
    assert BID.after(bid).most_bytes_in("upscale-0", 1) == 81 << 20


def test_a_plans_own_limits_fit_under_the_bound() -> None:
    """What the coordinator may pass on is never refused for its size."""
    plan = make_plan(TextToVideo(prompt="a red circle", seconds=20, width=1024, height=1024))
    for subtask in plan.subtasks:
        made_by = {ref.subtask for ref in subtask.inputs}
        limit = sum(
            entry(plan[name].stage).bytes_limit(plan[name].parsed_params()) for name in made_by
        )
        bid = BID.model_copy(update={"bytes_in": {subtask.id: subtask.bytes_in}})
        assert limit <= bid.most_bytes_in(subtask.id, len(subtask.inputs))
