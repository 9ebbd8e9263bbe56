"""One listing for all: whoever needs to know how its resource is doing looks into the same answer of one call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic

from attrs import evolve

from evalx.errors import EvalxError
from evalx_lepton.views import Snapshot, View

LOOKS = 2
"""Listings that must lack a resource before it is gone."""

AGAIN = 5.0
"""Seconds after which what was asked to go, and is still shown as if it had not been, is asked again."""

SHARED = 0.2
"""Seconds in which a failure is shared by all who ask."""

LATE = 4
"""While a listing is on its way, one that is so many times too old will do: a look that waits would hold up a thread that has work."""


SLOW = 2
"""A listing is asked for at most once in so many times what the last one took. Else, on a busy machine, the looks of a large run would all
wait for the next one, and nothing else, such as a deletion, would have a thread."""


class Listing(Generic[View]):
    """The newest listing of one kind of resource. Any number of threads may ask; one call at a time goes out."""

    def __init__(self, fetch: Callable[[], Snapshot[View]]) -> None:
        self._fetch: Callable[[], Snapshot[View]] = fetch
        self._turn = threading.Condition()
        self._asking = False
        self._asked = float("-inf")
        self._took = 0.0
        self._answer: Snapshot[View] | EvalxError | None = None

    def within(self, seconds: float) -> Snapshot[View]:
        """A listing that was asked for at most so many seconds ago; or a little longer, if the next one is on its way already or would take
        its time.

        A failure is shared like an answer. Raises what the call raises.
        """
        now = time.monotonic()
        with self._turn:
            seconds = max(seconds, SLOW * self._took)
            if self._asking and isinstance(self._answer, Snapshot) and self._asked >= now - LATE * seconds:
                return self._answer
        return self.since(now - seconds)

    def since(self, moment: float) -> Snapshot[View]:
        """A listing that was asked for at that moment (monotonic seconds) or later.

        A failure is an answer only to those who ask at the same time: else one whose moment has passed would be told of it for ever.
        """
        with self._turn:
            if isinstance(self._answer, EvalxError):
                moment = max(moment, time.monotonic() - SHARED)
            self._turn.wait_for(lambda: self._asked >= moment or not self._asking)
            if self._asked >= moment:
                return self._told()
            self._asking = True
        try:
            asked = time.monotonic()
            answer = self._ask(asked)
            with self._turn:
                self._asked, self._answer, self._took = asked, answer, time.monotonic() - asked
                return self._told()
        finally:
            with self._turn:
                self._asking = False
                self._turn.notify_all()

    def _ask(self, asked: float) -> Snapshot[View] | EvalxError:
        try:
            return evolve(self._fetch(), asked=asked)
        except EvalxError as error:
            return error

    def _told(self) -> Snapshot[View]:
        if isinstance(self._answer, EvalxError):
            # A new instance: this one's traceback would grow with every thread that raises it.
            raise _copy(self._answer)
        assert self._answer is not None
        return self._answer


class Departures:
    """What this process has asked to go, and the proof that it has gone: listings, asked for later, that certainly lack it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_to_go: dict[str, float] = {}
        self._lacking: dict[str, set[float]] = {}

    def noted(self, name: str) -> bool:
        """Whether this process has asked it to go."""
        return name in self._asked_to_go

    def due(self, name: str) -> bool:
        """Whether to ask it to go: not again while the listings may not yet show that it does."""
        return time.monotonic() - self._asked_to_go.get(name, float("-inf")) > AGAIN

    def note(self, name: str) -> None:
        """It was asked to go just now."""
        self._asked_to_go[name] = time.monotonic()

    def seen(self, name: str) -> None:
        """It is there: what was known of its absence counts no more."""
        with self._lock:
            self._lacking.pop(name, None)

    def proven(
        self, name: str, snapshot: Snapshot[View], listing: Listing[View], is_gone: Callable[[View], bool] = lambda _: False
    ) -> bool:
        """Count a snapshot that certainly lacks it, of that listing; whether it was the last one needed.

        is_gone: whether something of that name which is still listed does not count. What this process has not asked to go is not on its
        way out, so the next listing is asked for at once.
        """
        if self._enough(name, snapshot.asked) or self.noted(name):
            return self._enough(name, snapshot.asked)
        later = listing.since(time.monotonic())
        listed = later.named(name)
        lacks = all(map(is_gone, listed)) if listed else later.lacks(name)
        return lacks and self._enough(name, later.asked)

    def _enough(self, name: str, asked: float) -> bool:
        """Whether enough listings lack it, with one that was asked for at that moment."""
        if asked <= self._asked_to_go.get(name, float("-inf")):
            return False
        with self._lock:
            lacking = self._lacking.setdefault(name, set())
            lacking.add(asked)
            return len(lacking) >= LOOKS


def _copy(error: EvalxError) -> EvalxError:
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    return copy
