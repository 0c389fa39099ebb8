"""A trio event loop in a thread of its own, called from asyncio and calling back into it.

py-libp2p runs on trio; gRPC, web3 and the rest of a node run on asyncio. Calls cross in both
directions with their results, exceptions and cancellation. When the trio side ends, for whatever
reason, `ended` is resolved and every call still open fails with HostDown.
"""

# ruff: noqa: BLE001 - whatever is raised on one side is carried to the other
from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from typing import Any, TypeVar, TypeVarTuple, Unpack

import trio

from reelmesh.node.p2p.errors import HostDown

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Body = Callable[[Callable[[], None], trio.Event], Awaitable[None]]
"""`body(ready, stop)`: calls `ready()` once it serves, and returns soon after `stop` is set."""


class TrioBridge:
    """One run of one trio loop. Not restartable: make a new one.

    Attributes:
        ended: Resolved on the asyncio loop when the thread has finished: with None after `stop`,
            with the exception when the body raised or returned by itself.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._stop: trio.Event | None = None
        self._stopping = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._open: set[asyncio.Future[Any]] = set()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        # Nobody may be waiting; an unretrieved exception must not print at garbage collection.
        self.ended.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._ready.add_done_callback(lambda f: f.cancelled() or f.exception())

    async def start(self, body: Body) -> None:
        """Run `body` under trio until `stop`; returns once it is ready.

        Raises whatever the body raises before it is ready.
        """
        thread = threading.Thread(target=self._thread, args=(body,), name=self._name, daemon=True)
        thread.start()
        try:
            await asyncio.shield(self._ready)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self, timeout_s: float = 5.0) -> bool:
        """End the trio loop, first kindly, after half of the time by cancelling it.

        Returns whether its thread finished within `timeout_s`.
        """
        self._stopping = True
        for end in (self._ask_to_stop, self._cancel_all):
            self._into_trio(end)
            done, _ = await asyncio.wait([self.ended], timeout=timeout_s / 2)
            if done:
                return True
        return False

    async def call(self, fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T:
        """From asyncio: run an async trio function over there and wait for what it returns.

        Cancelling the caller cancels the function. Raises HostDown if the loop is gone or ends.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        scope = trio.CancelScope()

        async def run() -> None:
            try:
                with scope:
                    self._resolve(future, await fn(*args), None)
            except Exception as exc:
                self._resolve(future, None, exc)
            except BaseException:  # trio.Cancelled: the whole loop is going down
                self._resolve(future, None, HostDown("the libp2p host went down"))
                raise
            # After the result this changes nothing; after a cancellation it is the answer.
            self._resolve(future, None, HostDown("the call was cancelled"))

        def spawn() -> None:
            if self._nursery is None:
                self._resolve(future, None, HostDown("the libp2p host is down"))
            else:
                self._nursery.start_soon(run)

        if self.ended.done() or not self._into_trio(spawn):
            raise HostDown("the libp2p host is down", "it restarts by itself; try again")
        self._open.add(future)
        try:
            return await future
        except asyncio.CancelledError:
            self._into_trio(scope.cancel)
            raise
        finally:
            self._open.discard(future)

    def tell(self, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """From trio: call a plain function on the asyncio loop, without waiting."""
        with contextlib.suppress(RuntimeError):  # the asyncio loop is closed: the process ends
            self._loop.call_soon_threadsafe(fn, *args)

    async def ask(self, fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """From trio: run an asyncio coroutine function over there and wait for what it returns."""
        token = trio.lowlevel.current_trio_token()
        done = trio.Event()
        future = asyncio.run_coroutine_threadsafe(fn(*args), self._loop)

        def wake(_: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        future.add_done_callback(wake)
        try:
            await done.wait()
        except trio.Cancelled:
            future.cancel()
            raise
        try:
            return future.result(timeout=0)
        except (asyncio.CancelledError, FutureCancelled) as exc:
            raise HostDown("the handler was cancelled") from exc

    def _thread(self, body: Body) -> None:
        error: BaseException | None = None
        try:
            trio.run(self._main, body)
        except BaseException as exc:  # carried over to `ended`, never lost in a thread
            error = exc
        if error is None and not self._stopping:
            error = HostDown("the libp2p host ended by itself")
        self.tell(self._finish, None if self._stopping else error)

    async def _main(self, body: Body) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                if not self._stopping:
                    await body(lambda: self.tell(self._mark_ready), self._stop)
            finally:
                self._nursery = None
                nursery.cancel_scope.cancel()

    def _ask_to_stop(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _cancel_all(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _into_trio(self, fn: Callable[[], object]) -> bool:
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(fn)
        except trio.RunFinishedError:
            return False
        return True

    def _mark_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _finish(self, error: BaseException | None) -> None:
        if not self._ready.done():
            self._ready.set_exception(_plain(error) or HostDown("the libp2p host was stopped"))
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(_plain(error) or error)
        for future in list(self._open):
            if not future.done():
                future.set_exception(HostDown("the libp2p host went down"))

    def _resolve(self, future: asyncio.Future[T], result: Any, error: Exception | None) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.tell(settle)


def _plain(error: BaseException | None) -> Exception | None:
    """The first ordinary exception inside nursery groups: what a reader wants to see."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None or isinstance(error, Exception):
        return error
    return HostDown(f"the libp2p thread ended with {type(error).__name__}")
