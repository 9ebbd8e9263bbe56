"""Group commit: the writes of one turn of the event loop are one transaction, so that a hundred endpoints that get ready together cost
one wait for the disk and not three hundred."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from evalx.errors import EvalxError, StoreError, internal
from evalx.model import Event
from evalx.store import Journal

Write = Callable[[], Event]


class Commits:
    """The writes of a run that are not committed yet. tell: called with each event, in order, once it is committed."""

    def __init__(self, journal: Journal, tell: Callable[[Event], None]) -> None:
        self._journal = journal
        self._tell = tell
        self._waiting: list[tuple[Sequence[Write], asyncio.Future[None]]] = []

    def add(self, *writes: Write) -> asyncio.Future[None]:
        """Commit the writes with all others of this turn. The future is done when they are; it raises StoreError or RunBusy."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self.flush)
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((writes, done))
        return done

    def flush(self) -> None:
        """Commit now whatever waits."""
        waiting, self._waiting = self._waiting, []
        try:
            with self._journal.batch():
                events = [write() for writes, _ in waiting for write in writes]
        except Exception as error:  # noqa: BLE001 -- whatever it is, nobody may wait for ever for a commit that will not come
            failure = error if isinstance(error, EvalxError) else StoreError(str(internal(error)))
            for _, done in waiting:
                if not done.done():
                    done.set_exception(failure)
            return
        for event in events:
            self._tell(event)
        for _, done in waiting:
            if not done.done():
                done.set_result(None)
