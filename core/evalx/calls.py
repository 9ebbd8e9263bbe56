"""How the driver calls hooks and waits: in the executor's pool, with retries of what may pass, never longer than a deadline.

Durations are seconds on the event loop's monotonic clock.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from evalx.errors import DeadlineExceeded, EvalxError, PluginError, TransientError

T = TypeVar("T")

STOP_GRACE = 10.0
"""How long a hook call that is under way when the run is stopped may still take before its outcome counts as unknown."""

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0


class Stopped(Exception):
    """The run is being ended: no new work. unknown: a call was under way and its outcome was not awaited."""

    def __init__(self, unknown: bool = False) -> None:
        super().__init__("the run was stopped")
        self.unknown = unknown


class Calls:
    """Calls hooks for one run. `stop()` may be called from the loop's thread only."""

    def __init__(self, pool: Executor, stopping: threading.Event) -> None:
        self._pool = pool
        self._stopping = stopping
        self._stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._under_way: dict[asyncio.Future[Any], str] = {}
        self._asleep: set[asyncio.Future[None]] = set()
        if stopping.is_set():
            self._stop.set_result(None)

    @property
    def stopped(self) -> bool:
        return self._stop.done()

    def stop(self) -> None:
        """Wake everything that waits; from now on waits raise Stopped."""
        self._stopping.set()
        if not self._stop.done():
            self._stop.set_result(None)
            for sleeper in self._asleep:
                _wake(sleeper)

    async def hold(self, seconds: float) -> bool:
        """Let no call begin any more, and wait for those under way; whether all were over in that time. A look that changes nothing is
        not waited for. `release` undoes it."""
        self._may_go_on.clear()
        changing = {future for future, what in self._under_way.items() if what != "wait_ready"}
        return not changing or not (await asyncio.wait(changing, timeout=seconds))[1]

    def release(self) -> None:
        """Go on after `hold`."""
        self._may_go_on.set()

    async def until_stopped(self) -> None:
        await asyncio.shield(self._stop)

    async def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the run is stopped."""
        await self._sleep(seconds)
        await self._may_go_on.wait()
        if self.stopped:
            raise Stopped

    async def _sleep(self, seconds: float, until: asyncio.Future[Any] | None = None) -> None:
        """Wait so long at most, until the run is stopped, or until that future is done.

        Not with `asyncio.wait` on the one future of the stop: each call would look through the callbacks of all others.
        """
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        wake = partial(_wake, sleeper)
        timer = loop.call_later(0.0 if self.stopped else max(seconds, 0.0), wake)
        self._asleep.add(sleeper)
        if until is not None:
            until.add_done_callback(wake)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._asleep.discard(sleeper)
            if until is not None:
                until.remove_done_callback(wake)

    async def work(self, what: str, call: Callable[[], T], deadline: float, on_retry: Callable[[TransientError], None] | None = None) -> T:
        """The call's result; transient errors are retried until the deadline (loop time).

        Raises what the call raises; DeadlineExceeded with the last transient error; Stopped when the run is stopped before or between
        tries, or `STOP_GRACE` after the stop if the call has not returned by then.
        """
        for attempt in itertools.count():
            try:
                return await self._in_pool(what, call, deadline)
            except TransientError as error:
                if on_retry is not None:
                    on_retry(error)
                delay = self._delay(what, attempt, error, deadline)
            except Stopped as stop:
                raise Stopped(stop.unknown or attempt > 0) from None
            try:
                await self.pause(delay)
            except Stopped:
                raise Stopped(unknown=True) from None
        raise AssertionError("unreachable")

    async def _in_pool(self, what: str, call: Callable[[], T], deadline: float) -> T:
        await self._may_go_on.wait()
        if self.stopped:
            raise Stopped
        running, future = self._begin(what, call)
        await self._sleep(deadline - now(), future)
        if not future.done():
            self._give_up(what, running)
            await asyncio.wait({future}, timeout=STOP_GRACE)
        if not future.done():
            raise Stopped(unknown=True)
        return future.result()

    def _begin(self, what: str, call: Callable[[], T]) -> tuple[Future[T], asyncio.Future[T]]:
        """The call in the pool, and in the loop."""
        running = self._pool.submit(named, what, call)
        future = asyncio.wrap_future(running)
        self._under_way[future] = what
        future.add_done_callback(self._over)
        return running, future

    def _over(self, future: asyncio.Future[Any]) -> None:
        """Look at a late outcome that nobody waits for, so that asyncio does not report it."""
        del self._under_way[future]
        if not future.cancelled():
            future.exception()

    def _give_up(self, what: str, running: Future[Any]) -> None:
        """Raise, unless the run was stopped in the middle of a call, which then gets a little time."""
        begun = not running.cancel()
        if not self.stopped:
            raise DeadlineExceeded(f"{what}: the executor's hook did not return in time", "does its backend answer? see: evalx doctor")
        if not begun:
            raise Stopped

    async def insist(self, what: str, call: Callable[[], T], deadline: float) -> T:
        """Like `work`, but goes on after a stop: for cleaning up. Raises DeadlineExceeded or what the call raises."""
        for attempt in itertools.count():
            await self._may_go_on.wait()
            _, future = self._begin(what, call)
            await asyncio.wait({future}, timeout=max(deadline - now(), 0.0))
            if not future.done():
                raise DeadlineExceeded(f"{what}: the executor's hook did not return in time", "does its backend answer? see: evalx doctor")
            try:
                return future.result()
            except TransientError as error:
                delay = self._delay(what, attempt, error, deadline)
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    def _delay(self, what: str, attempt: int, error: TransientError, deadline: float) -> float:
        delay = backoff(attempt, error.retry_after)
        if now() + delay >= deadline:
            raise DeadlineExceeded(f"{what}: gave up, last error: {error}", error.hint) from error
        return delay


def _wake(sleeper: asyncio.Future[None], _done: object = None) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def now() -> float:
    """The loop's monotonic clock."""
    return asyncio.get_running_loop().time()


def backoff(attempt: int, retry_after: float | None = None) -> float:
    """Seconds before try `attempt + 1`: exponential with jitter, at least what the other side asked for."""
    delay = min(FIRST_BACKOFF * 2.0**attempt, LONGEST_BACKOFF) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
    return max(delay, retry_after or 0.0)


def named(what: str, call: Callable[[], T]) -> T:
    """The call, with every exception that is not evalx's own made a PluginError: a plugin's bug must not pass for anything else."""
    try:
        return call()
    except EvalxError:
        raise
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        raise PluginError(f"{what}: {type(error).__name__}: {error}" + (f" ({notes})" if notes else "")) from error
