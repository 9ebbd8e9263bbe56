"""An event loop whose time costs nothing: when all wait, the clock jumps to where the first of them goes on.

Hook calls are made in the loop's own thread, after a latency of virtual seconds; so a test of minutes takes milliseconds, and happens in
the same order every time. What would wait for ever is an error at once.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0


class WaitsForEver(AssertionError):
    """Nothing is due, and somebody waits."""


class Clock:
    """now: virtual seconds since it was made. `time()` is that as a time of day: in seconds since the epoch, as `time.time()`."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return EPOCH + self.now


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Does not wait: it moves the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise WaitsForEver("everything waits, and nothing is due")
        self._clock.now += max(timeout, 1e-6)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Use: `loop.run_until_complete(...)`; or `steps(n)`, which lets it make so many turns and no more."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """At once, and here: a thread would take real time."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 -- as in a thread
            future.set_exception(error)
        return future

    def steps(self, count: int) -> None:
        """So many turns; time does not move."""
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until_complete(asyncio.sleep(seconds))


class VirtualPool(Executor):
    """Makes hook calls in the loop's thread. latency: virtual seconds until a call is made; None: it never is, as one that hangs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, latency: Callable[[], float | None] = lambda: 0.01) -> None:
        self._loop = loop
        self._latency = latency
        self.dead = False

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        latency = self._latency()
        if latency is not None and not self.dead:
            self._loop.call_later(latency, self._make, future, call, args, kwargs)
        return future

    def _make(self, future: Future[T], call: Callable[..., T], args: Any, kwargs: Any) -> None:
        if self.dead:
            return
        try:
            result = call(*args, **kwargs)
        except Hangs:
            return
        except BaseException as error:  # noqa: BLE001 -- as in a thread
            future.set_exception(error)
        else:
            future.set_result(result)


class Hangs(BaseException):
    """Raised in a hook that shall never return."""


def run(clock: Clock, work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """The work, in a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(work(loop))
