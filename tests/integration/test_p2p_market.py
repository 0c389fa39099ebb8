"""The market's messages between real hosts: heard, verified, answered, refused with a reason."""

from __future__ import annotations

import asyncio

import pytest
from p2p_world import (
    WAIT_S,
    Node,
    make_ad,
    make_award,
    make_bid,
    make_call,
    make_loss,
    mesh,
    nodes,
    now_ms,
    until,
)

from reelmesh.node.p2p.bounds import OutOfBounds
from reelmesh.node.p2p.errors import PeerUnreachable
from reelmesh.node.p2p.network import ADS_TOPIC, AWARD, BID, CALLS_TOPIC, LOSS
from reelmesh.node.wallet.envelope import seal
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2 as pb


async def _next(queue: asyncio.Queue) -> tuple:  # type: ignore[type-arg]
    return await asyncio.wait_for(queue.get(), WAIT_S)


async def test_ads_and_calls_reach_nodes_that_are_not_neighbours() -> None:
    async with nodes(3) as [a, b, c]:
        for topic in (ADS_TOPIC, CALLS_TOPIC):
            await mesh(a.host, b.host, topic)
            await mesh(b.host, c.host, topic)
        ad, call = make_ad(), make_call(a.key, a.host.addrs[0])
        await a.network.publish_ad(ad)
        await a.network.publish_call(call)
        assert await _next(c.ads) == (a.key.address, ad)
        sender, heard, _ = await _next(c.calls)
        assert (sender, heard) == (a.key.address, call)
        assert c.network.ads.get(a.key.address) == ad
        assert a.ads.empty()  # nobody hears itself
        assert a.calls.empty()


async def test_a_repeated_call_is_heard_once_and_a_new_issue_again() -> None:
    async with nodes(2) as [a, b]:
        await mesh(a.host, b.host, CALLS_TOPIC)
        call = make_call(a.key, a.host.addrs[0])
        for _ in range(3):
            await a.network.publish_call(call)
        again = make_call(
            a.key, a.host.addrs[0], job_id=call.job_id, issued_at_ms=call.issued_at_ms + 1
        )
        await a.network.publish_call(again)
        assert (await _next(b.calls))[1] == call
        assert (await _next(b.calls))[1] == again
        assert b.calls.empty()


async def test_who_connects_late_pulls_the_open_calls_also_from_a_third_node() -> None:
    async with nodes(3) as [a, b, late]:
        await mesh(a.host, b.host, CALLS_TOPIC)
        call = make_call(a.key, a.host.addrs[0])
        await a.network.publish_call(call)
        await _next(b.calls)
        await a.host.stop()
        await late.host.connect(b.host.addrs[0])
        assert (await _next(late.calls))[:2] == (a.key.address, call)
        assert await late.network.pull_open_calls(b.host.peer_id) == [(a.key.address, call)]
        assert late.calls.empty()


async def test_withdrawn_and_closed_calls_are_not_handed_out() -> None:
    async with nodes(2) as [a, b]:
        call = make_call(a.key, a.host.addrs[0])
        over = make_call(a.key, a.host.addrs[0], closes_at_ms=now_ms() + 1)
        await a.network.publish_call(call)
        await a.network.publish_call(over)
        a.network.withdraw_call(call.job_id)
        await until(lambda: now_ms() > over.closes_at_ms)
        await b.host.connect(a.host.addrs[0])
        assert await b.network.pull_open_calls(a.host.peer_id) == []


async def test_bid_award_and_loss_go_over_the_bidders_own_connection() -> None:
    async with nodes(1) as [coordinator]:
        # It listens nowhere: whatever reaches it comes over the connection that it made.
        provider = Node()
        provider.host._listen = []
        await provider.host.start()
        try:
            bids: asyncio.Queue[tuple[str, str, pb.Bid]] = asyncio.Queue()
            awards: asyncio.Queue[pb.Award] = asyncio.Queue()
            losses: asyncio.Queue[pb.Loss] = asyncio.Queue()

            async def on_bid(
                sender: str, peer: str, bid: pb.Bid, envelope: pb.Envelope
            ) -> pb.BidReply:
                assert envelope.type == "Bid"
                bids.put_nowait((sender, peer, bid))
                return pb.BidReply(accepted=True)

            async def on_award(sender: str, award: pb.Award, envelope: pb.Envelope) -> None:
                assert sender == coordinator.key.address
                awards.put_nowait(award)

            async def on_loss(sender: str, loss: pb.Loss) -> None:
                losses.put_nowait(loss)

            coordinator.network.serve_bids(on_bid)
            provider.network.serve_awards(on_award)
            provider.network.serve_losses(on_loss)
            bid = make_bid(b"\5" * 32)
            reply = await provider.network.send_bid(coordinator.host.addrs[0], bid)
            assert reply.accepted
            sender, peer, heard = await _next(bids)  # type: ignore[misc]
            assert (sender, peer, heard) == (provider.key.address, provider.host.peer_id, bid)

            award, loss = make_award(bid.job_id, provider.key), make_loss(bid.job_id)
            assert await coordinator.network.send_award(peer, award)
            assert await coordinator.network.send_award(peer, award)  # its answer was lost, say
            assert await coordinator.network.send_loss(peer, loss)
            assert await asyncio.wait_for(awards.get(), WAIT_S) == award
            assert await asyncio.wait_for(losses.get(), WAIT_S) == loss
            assert awards.empty()
        finally:
            await provider.host.stop()


async def _taking(node: Node) -> list[pb.Bid]:
    taken: list[pb.Bid] = []

    async def on_bid(_s: str, _p: str, bid: pb.Bid, _e: pb.Envelope) -> pb.BidReply:
        taken.append(bid)
        return pb.BidReply(accepted=True)

    node.network.serve_bids(on_bid)
    return taken


async def _raw(sender: Node, receiver: Node, protocol: str, data: bytes) -> pb.BidReply:
    return pb.BidReply.FromString(await sender.host.request(receiver.host.peer_id, protocol, data))


async def test_bids_are_refused_with_a_reason_that_the_bidder_can_read() -> None:
    async with nodes(2) as [a, b]:
        await b.host.connect(a.host.addrs[0])
        job, now = b"\6" * 32, now_ms()
        nobody = await b.network.send_bid(a.host.addrs[0], make_bid(job))
        assert (nobody.accepted, nobody.reason) == (False, "not_taking_bids")
        taken = await _taking(a)
        good = seal(b.key, make_bid(job))
        tampered = pb.Envelope.FromString(good.SerializeToString())
        tampered.payload = tampered.payload[:-1] + bytes([tampered.payload[-1] ^ 1])
        other_type = seal(b.key, make_loss(job))
        cases: list[tuple[bytes, str]] = [
            (good.SerializeToString(), ""),
            (good.SerializeToString(), "replayed"),
            (seal(NodeKey.generate(), make_bid(job)).SerializeToString(), "wrong_sender"),
            (tampered.SerializeToString(), "wrong_sender"),
            (other_type.SerializeToString(), "malformed"),
            (b"\xff\xff\xff", "malformed"),
            (b"", "malformed"),
            (
                seal(
                    b.key, make_bid(job, issued_at_ms=now - 99_000, expires_at_ms=now - 40_000)
                ).SerializeToString(),
                "expired",
            ),
            (
                seal(
                    b.key, make_bid(job, issued_at_ms=now + 90_000, expires_at_ms=now + 99_000)
                ).SerializeToString(),
                "from_the_future",
            ),
            (
                seal(b.key, make_bid(job, expires_at_ms=now + 10**9)).SerializeToString(),
                "malformed",
            ),
            (seal(b.key, make_bid(job, nonce=b"short")).SerializeToString(), "malformed"),
            (
                seal(b.key, make_bid(job, queue_seconds=float("nan"))).SerializeToString(),
                "malformed",
            ),
        ]
        for data, reason in cases:
            reply = await _raw(b, a, BID, data)
            assert (reply.accepted, reply.reason) == (reason == "", reason)
        assert len(taken) == 1


async def test_a_bid_handler_that_raises_answers_failed() -> None:
    async with nodes(2) as [a, b]:

        async def on_bid(_s: str, _p: str, _b: pb.Bid, _e: pb.Envelope) -> pb.BidReply:
            raise RuntimeError("a defect")

        a.network.serve_bids(on_bid)
        reply = await b.network.send_bid(a.host.addrs[0], make_bid(b"\7" * 32))
        assert (reply.accepted, reply.reason) == (False, "failed")


async def test_awards_for_others_or_signed_by_others_are_refused() -> None:
    async with nodes(2) as [a, b]:
        seen: list[pb.Award] = []
        fail = [True]

        async def on_award(_s: str, award: pb.Award, _e: pb.Envelope) -> bool:
            if fail.pop() if fail else False:
                raise RuntimeError("disk full")
            seen.append(award)
            return True

        b.network.serve_awards(on_award)
        await b.host.connect(a.host.addrs[0])
        await a.host.wait_connected(b.host.peer_id)
        mine = make_award(b"\1" * 32, b.key)
        assert not await a.network.send_award(b.host.peer_id, make_award(b"\1" * 32, a.key))
        forged = seal(NodeKey.generate(), mine).SerializeToString()
        assert (await _raw(a, b, AWARD, forged)).reason == "wrong_sender"
        assert not await a.network.send_award(b.host.peer_id, mine)  # the handler failed: not lost
        assert await a.network.send_award(b.host.peer_id, mine)
        assert seen == [mine]
        assert (await _raw(a, b, LOSS, forged)).reason == "malformed"


@pytest.mark.parametrize("kind", ["relayed", "expired", "forged_coordinator", "junk"])
async def test_bad_gossip_is_neither_heard_nor_kept(kind: str) -> None:
    async with nodes(2) as [a, b]:
        await mesh(a.host, b.host, CALLS_TOPIC)
        addr, now = a.host.addrs[0], now_ms()
        data = {
            # Signed by a third node, published by this one as its own.
            "relayed": seal(
                (third := NodeKey.generate()), make_call(third, addr)
            ).SerializeToString(),
            "expired": seal(
                a.key, make_call(a.key, addr, issued_at_ms=now - 99_000, closes_at_ms=now - 40_000)
            ).SerializeToString(),
            "forged_coordinator": seal(
                a.key, make_call(a.key, b.host.addrs[0])
            ).SerializeToString(),
            "junk": b"\x00\xffjunk",
        }[kind]
        await a.host.publish(CALLS_TOPIC, data)
        good = make_call(a.key, addr)
        await a.network.publish_call(good)
        assert (await _next(b.calls))[1] == good  # what came before it was dropped
        assert b.calls.empty()
        assert [c.call for c in b.network.calls.entries()] == [good]


async def test_own_messages_out_of_bounds_are_not_sent() -> None:
    async with nodes(1) as [a]:
        with pytest.raises(OutOfBounds):
            await a.network.publish_ad(make_ad(chain_market=b"short"))
        with pytest.raises(OutOfBounds):
            await a.network.send_bid(a.host.addrs[0], make_bid(b"short"))
        nowhere = f"/ip4/127.0.0.1/tcp/1/p2p/{NodeKey.generate().peer_id}"
        with pytest.raises(PeerUnreachable):
            await a.network.send_bid(nowhere, make_bid(b"\1" * 32))
