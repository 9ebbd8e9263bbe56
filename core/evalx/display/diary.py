"""evalx's own log of a run: what it has done and seen, a line with date and time for each event, as `evalx logs RUN evalx` shows it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from evalx.display.model import Board, is_warning
from evalx.display.plain import name_width, sentence, warning
from evalx.model import Event, RunPlan


class Diary:
    """Makes lines of a run's events, which it must be given in order and from the first on."""

    def __init__(self, plan: RunPlan) -> None:
        self._board = Board(plan)
        self._width = name_width(plan)
        self._said: dict[int, str] = {}

    def lines(self, events: Iterable[Event], since: float | None = None) -> Iterator[str]:
        """Their lines. since: only of what happened from then on (seconds since the epoch)."""
        for event in events:
            text = self._line(event)
            if text is not None and (since is None or event.time >= since):
                yield f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(event.time))}  {text}"

    def _line(self, event: Event) -> str | None:
        if is_warning(event):
            return warning(event)
        status = self._board.apply(event)
        if status is None:
            return None
        text = sentence(self._board, status, event, self._width)
        if self._said.get(id(status)) == text:
            return None
        self._said[id(status)] = text
        return text
