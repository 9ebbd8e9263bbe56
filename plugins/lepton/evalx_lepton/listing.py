"""One listing for all: whoever needs to know how its resource is doing looks into the same answer of one call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic

from evalx.errors import EvalxError
from evalx_lepton.views import Snapshot, View

LOOKS = 2
"""Listings that must lack a resource before it is gone."""


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


class Absence(Generic[View]):
    """Proof that something is gone: two listings in a row that certainly lack it. What has been seen is kept if a call fails between."""

    def __init__(self, listing: Listing[View], is_gone: Callable[[View], bool] = lambda _: False) -> None:
        """is_gone: whether what is still listed counts as gone."""
        self._listing = listing
        self._is_gone = is_gone
        self._seen: dict[str, int] = {}

    def proven(self, name: str) -> bool:
        """Look until it is proven, or seen again. Raises what the listing raises."""
        while self._seen.get(name, 0) < LOOKS:
            snapshot = self._listing.since(time.monotonic())
            listed = snapshot.named(name)
            if not (all(map(self._is_gone, listed)) if listed else snapshot.lacks(name)):
                self.forget(name)
                return False
            self._seen[name] = self._seen.get(name, 0) + 1
        self.forget(name)
        return True

    def forget(self, name: str) -> None:
        """It was seen: what was known of its absence counts no more."""
        self._seen.pop(name, None)


def _copy(error: EvalxError) -> EvalxError:
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    return copy
