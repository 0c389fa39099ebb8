"""Calls between asyncio and trio: results, exceptions, cancellation, crash and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.lowlevel

from reelmesh.node.p2p.bridge import TrioBridge
from reelmesh.node.p2p.errors import HostDown

WAIT_S = 10.0


async def _serve(ready: Callable[[], None], stop: trio.Event) -> None:
    ready()
    await stop.wait()


@pytest.fixture
async def bridge() -> AsyncIterator[TrioBridge]:
    made = TrioBridge("test")
    await made.start(_serve)
    yield made
    assert await made.stop()


async def test_results_and_exceptions_cross(bridge: TrioBridge) -> None:
    async def add(a: int, b: int) -> int:
        await trio.lowlevel.checkpoint()
        return a + b

    async def fail() -> None:
        raise KeyError("there")

    assert await bridge.call(add, 2, 3) == 5
    with pytest.raises(KeyError, match="there"):
        await bridge.call(fail)
    assert await asyncio.gather(*(bridge.call(add, n, n) for n in range(50))) == list(
        range(0, 100, 2)
    )


async def test_trio_asks_asyncio(bridge: TrioBridge) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        if n < 0:
            raise ValueError("negative")
        return 2 * n

    async def over_there(n: int) -> int:
        return await bridge.ask(double, n) + 1

    assert await bridge.call(over_there, 4) == 9
    with pytest.raises(ValueError, match="negative"):
        await bridge.call(over_there, -1)


async def test_cancelling_the_caller_cancels_the_other_side(bridge: TrioBridge) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        bridge.tell(started.set)
        try:
            await trio.sleep_forever()
        finally:
            bridge.tell(cancelled.set)

    task = asyncio.create_task(bridge.call(wait))
    await asyncio.wait_for(started.wait(), WAIT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), WAIT_S)


async def test_cancelling_trio_cancels_the_asyncio_side(bridge: TrioBridge) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def impatient() -> bool:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bridge.ask, hang)
                while not started.is_set():
                    await trio.sleep(0.001)
                scope.cancel()
        return scope.cancelled_caught

    assert await bridge.call(impatient)
    await asyncio.wait_for(cancelled.wait(), WAIT_S)


async def test_a_crash_shows_and_fails_what_is_open() -> None:
    bridge, go = TrioBridge("test"), trio.Event()

    async def body(ready: Callable[[], None], _stop: trio.Event) -> None:
        ready()
        await go.wait()
        raise ZeroDivisionError("crash")

    await bridge.start(body)
    entered = asyncio.Event()

    async def wait() -> None:
        bridge.tell(entered.set)
        await trio.sleep_forever()

    task = asyncio.create_task(bridge.call(wait))
    await asyncio.wait_for(entered.wait(), WAIT_S)

    async def crash() -> None:
        go.set()

    await bridge.call(crash)
    with pytest.raises(HostDown):
        await asyncio.wait_for(task, WAIT_S)
    with pytest.raises(ZeroDivisionError, match="crash"):
        await asyncio.wait_for(asyncio.shield(bridge.ended), WAIT_S)
    with pytest.raises(HostDown):
        await bridge.call(wait)
    assert await bridge.stop()


async def test_a_body_that_fails_before_it_is_ready_fails_start() -> None:
    async def body(_ready: Callable[[], None], _stop: trio.Event) -> None:
        raise OSError("port taken")

    with pytest.raises(OSError, match="port taken"):
        await TrioBridge("test").start(body)


async def test_a_body_that_returns_by_itself_has_ended() -> None:
    async def body(ready: Callable[[], None], _stop: trio.Event) -> None:
        ready()

    bridge = TrioBridge("test")
    with pytest.raises(HostDown):
        await bridge.start(body)
        await asyncio.wait_for(asyncio.shield(bridge.ended), WAIT_S)


async def test_a_body_that_ignores_stop_is_cancelled() -> None:
    bridge = TrioBridge("test")

    async def body(ready: Callable[[], None], _stop: trio.Event) -> None:
        ready()
        await trio.sleep_forever()

    await bridge.start(body)
    assert await bridge.stop(timeout_s=1.0)
    assert bridge.ended.result() is None
