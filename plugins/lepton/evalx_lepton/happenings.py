"""What a workload's events tell: how often its container has ended, and what the platform warns of.

On the newer endpoint routes there is nothing else to tell it by: they show neither readiness nor terminations.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from evalx_lepton.states import CRASHING
from evalx_lepton.views import Reason

BACK_OFF = frozenset({"BackOff", "CrashLoopBackOff"})
STARTED = "Started"

LAST = 3
"""So many of the warnings, the newest, are told."""


@frozen
class Happening:
    """One event of the platform. when: it was last observed."""

    reason: str
    message: str
    warning: bool
    count: int
    when: datetime


def happenings(events: Sequence[Any], raw: Sequence[Any]) -> list[Happening]:
    """The SDK's events, oldest first. raw: the same as they came, with messages, for which the SDK's type has no room."""
    messages = [_message(item) for item in raw] if len(raw) == len(events) else [""] * len(events)
    found = [
        Happening(event.reason, message, event.type_ == "Warning", event.count, _aware(event.last_observed_time))
        for event, message in zip(events, messages, strict=True)
    ]
    return sorted(found, key=lambda happening: happening.when)


def container_ends(events: Sequence[Happening], replicas: int) -> int:
    """How often containers of an endpoint have ended, so far as its events tell; 0 if they tell of none."""
    back_offs = [event for event in events if event.reason in BACK_OFF and not _about_images(event)]
    if not back_offs:
        return 0
    starts = [event for event in events if event.reason == STARTED]
    if not starts:
        return sum(event.count for event in back_offs)
    waiting = back_offs[-1].when >= starts[-1].when
    return max(sum(event.count for event in starts) - replicas, 0) + waiting


def ended(count: int, how: str, too_often: int) -> Reason:
    """The reason for containers that have ended so often; hopeless from `too_often` on."""
    times = "once" if count == 1 else f"{count} times"
    return Reason(CRASHING if count >= too_often else "Restarted", f"ended {times}, {how}")


def warnings(events: Sequence[Happening]) -> list[Reason]:
    """The newest warnings, each reason once."""
    newest = {event.reason: event.message for event in events if event.warning}
    return [Reason(reason, message) for reason, message in list(newest.items())[-LAST:]]


def _about_images(event: Happening) -> bool:
    return "pull" in event.message.lower()


def _message(item: Any) -> str:
    text = item.get("message") if isinstance(item, dict) else None
    return " ".join(text.split())[:300] if isinstance(text, str) else ""


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
