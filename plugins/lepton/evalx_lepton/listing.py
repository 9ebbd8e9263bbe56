"""One listing for all: whoever needs to know how its resource is doing looks into the same answer of one call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic

from evalx.errors import EvalxError
from evalx_lepton.views import Snapshot, View


class Listing(Generic[View]):
    """The newest listing of one kind of resource. Any number of threads may ask; one call at a time goes out."""

    def __init__(self, fetch: Callable[[], Snapshot[View]]) -> None:
        self._fetch: Callable[[], Snapshot[View]] = fetch
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._answer: Snapshot[View] | EvalxError | None = None

    def within(self, seconds: float) -> Snapshot[View]:
        """A listing that was asked for at most so many seconds ago. A failure is shared like an answer. Raises what the call raises."""
        return self.since(time.monotonic() - seconds)

    def since(self, moment: float) -> Snapshot[View]:
        """A listing that was asked for at that moment (monotonic seconds) or later."""
        with self._lock:
            if self._asked < moment or self._answer is None:
                self._ask()
            if isinstance(self._answer, EvalxError):
                # A new instance: this one's traceback would grow with every thread that raises it.
                raise _copy(self._answer)
            assert self._answer is not None
            return self._answer

    def _ask(self) -> None:
        self._asked = time.monotonic()
        try:
            self._answer = self._fetch()
        except EvalxError as error:
            self._answer = error


def _copy(error: EvalxError) -> EvalxError:
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    return copy
