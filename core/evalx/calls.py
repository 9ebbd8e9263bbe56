"""How the driver calls hooks and waits: in the executor's pool, with retries of what may pass, never longer than a deadline.

Durations are seconds on the event loop's monotonic clock.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

from evalx.errors import DeadlineExceeded, TransientError

T = TypeVar("T")

STOP_GRACE = 10.0
"""How long a hook call that is under way when the run is stopped may still take before its outcome counts as unknown."""

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0


class Stopped(Exception):  # noqa: N818 - a control flow signal, not an error
    """The run is being ended: no new work. unknown: a call was under way and its outcome was not awaited."""

    def __init__(self, unknown: bool = False) -> None:
        super().__init__("the run was stopped")
        self.unknown = unknown


class Calls:
    """Calls hooks for one run. `stop()` may be called from the loop's thread only."""

    def __init__(self, pool: Executor, stopping: threading.Event) -> None:
        self._pool = pool
        self._stopping = stopping
        self._stopped = asyncio.Event()
        if stopping.is_set():
            self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        """Wake everything that waits; from now on waits raise Stopped."""
        self._stopping.set()
        self._stopped.set()

    async def until_stopped(self) -> None:
        await self._stopped.wait()

    async def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the run is stopped."""
        try:
            await asyncio.wait_for(self._stopped.wait(), max(seconds, 0.0))
        except TimeoutError:
            return
        raise Stopped

    async def work(self, what: str, call: Callable[[], T], deadline: float, on_retry: Callable[[TransientError], None]) -> T:
        """The call's result; transient errors are retried until the deadline (loop time).

        Raises what the call raises; DeadlineExceeded with the last transient error; Stopped when the run is stopped before or between
        tries, or `STOP_GRACE` after the stop if the call has not returned by then.
        """
        for attempt in range(1_000_000):
            if self.stopped:
                raise Stopped
            try:
                return await self._in_pool(what, call, deadline)
            except TransientError as error:
                on_retry(error)
                delay = backoff(attempt, error.retry_after)
                if now() + delay >= deadline:
                    raise DeadlineExceeded(f"{what}: gave up, last error: {error}", error.hint) from error
                await self.pause(delay)
        raise AssertionError("unreachable")

    async def _in_pool(self, what: str, call: Callable[[], T], deadline: float) -> T:
        future = self._submit(call)
        stop = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({future, stop}, timeout=max(deadline - now(), 0.0), return_when=asyncio.FIRST_COMPLETED)
            if not future.done() and self.stopped:
                await asyncio.wait({future}, timeout=STOP_GRACE)
                if not future.done():
                    raise Stopped(unknown=True)
            if not future.done():
                raise DeadlineExceeded(f"{what}: the executor's hook did not return in time")
            return future.result()
        finally:
            stop.cancel()
            if not future.done():
                future.add_done_callback(_forget)

    async def insist(self, what: str, call: Callable[[], T], deadline: float) -> T:
        """Like `work`, but goes on after a stop: for cleaning up. Raises DeadlineExceeded or what the call raises."""
        for attempt in range(1_000_000):
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._submit(call)
            except TimeoutError:
                raise DeadlineExceeded(f"{what}: not done in time") from None
            except TransientError as error:
                delay = backoff(attempt, error.retry_after)
                if now() + delay >= deadline:
                    raise DeadlineExceeded(f"{what}: gave up, last error: {error}", error.hint) from error
                await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    def _submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        future: Future[T] = self._pool.submit(call)
        return asyncio.wrap_future(future)


def now() -> float:
    """The loop's monotonic clock."""
    return asyncio.get_running_loop().time()


def backoff(attempt: int, retry_after: float | None = None) -> float:
    """Seconds before try `attempt + 1`: exponential with jitter, at least what the other side asked for."""
    delay = min(FIRST_BACKOFF * 2.0**attempt, LONGEST_BACKOFF) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
    return max(delay, retry_after or 0.0)


def _forget(future: asyncio.Future[T]) -> None:
    """Look at a late outcome that nobody waits for, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()
