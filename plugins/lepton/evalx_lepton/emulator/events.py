"""What happened to a workload, as the platform's events tell it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from attrs import define, field


@define
class _Event:
    reason: str
    message: str
    kind: str
    count: int = 1
    last: datetime = field(factory=lambda: datetime.now(UTC))


@define
class Events:
    """The events of one workload, in order; what happens again is counted."""

    _events: list[_Event] = field(factory=list)

    def add(self, reason: str, message: str, warning: bool = False) -> None:
        """Note one."""
        kind = "Warning" if warning else "Normal"
        for event in self._events:
            if (event.reason, event.message, event.kind) == (reason, message, kind):
                event.count, event.last = event.count + 1, datetime.now(UTC)
                return
        self._events.append(_Event(reason, message, kind))

    def render(self, name: str) -> list[dict[str, Any]]:
        """As answers show them. The message goes where the SDK leaves room for it."""
        return [
            {
                "type": event.kind,
                "reason": event.reason,
                "message": event.message,
                "count": event.count,
                "last_observed_time": event.last.isoformat(),
                "regarding": {"name": name, "message": event.message},
            }
            for event in self._events
        ]
