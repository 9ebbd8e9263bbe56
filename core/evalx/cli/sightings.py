"""What a backend itself shows of runs, in the words of `evalx cleanup --all-runs --executor NAME`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from evalx.backend import Backend, Key, Sighting
from evalx.cli import output
from evalx.display.text import clean, duration, plural, table
from evalx.serial import to_json


class Sweep:
    """One backend: what it has, what was deleted of it, and what may be left."""

    def __init__(self, executor: str, backend: Backend) -> None:
        self._executor, self._backend = executor, backend
        self._seen: list[Sighting] = []
        self.left: dict[Key, str] = {}
        self._applied = False

    def look(self) -> None:
        """Ask the backend. Raises what its executor raises."""
        self._seen = sorted(self._backend.look(), key=lambda sighting: sighting.key)

    def remove(self) -> None:
        """Delete what is ours, and that nobody here works on."""
        self.left = self._backend.remove(self._seen)
        self._applied = True

    @property
    def deletable(self) -> bool:
        """Whether there is anything to delete."""
        return any(sighting.deletable for sighting in self._seen)

    @property
    def names(self) -> frozenset[str]:
        """Of all that was seen."""
        return frozenset(sighting.found.resource for sighting in self._seen)

    def lines(self) -> Iterator[str]:
        """All that was seen, run by run."""
        width = output.width()
        header, *rows = table(_HEADER, map(_row, self._seen), width=width and width - 2, flexible="owner")
        if rows:
            yield f"  {header}"
        for run_id, group in groupby(zip(self._seen, rows, strict=True), key=lambda pair: pair[0].found.run_id):
            pairs = list(group)
            yield f"run {clean(run_id)}, {_user(pairs[0][0])}"
            yield from (f"  {row}" for _, row in pairs)

    def tell(self) -> None:
        """Say what became of everything."""
        gone = [sighting for sighting in self._seen if sighting.deletable and sighting.key not in self.left]
        for sighting in gone:
            output.tell(f"  gone: {clean(sighting.found.resource)}")
        for (_, _, name), why in self.left.items():
            output.tell(f"  may be alive: {clean(name)} ({clean(why)})")
        for sighting in self._seen:
            if not sighting.deletable:
                output.tell(f"  left alone: {clean(sighting.found.resource)} ({_why_not(sighting)})")
        left = f"{plural(len(self.left), 'resource')} may still be alive" if self.left else "nothing of yours is left there"
        output.tell(f"{self._executor}: {plural(len(gone), 'resource')} gone, {left}")

    def as_json(self) -> dict[str, Any]:
        """For --json: `outcome` is null for what was only listed. What appeared meanwhile and is left has no other facts than its name."""
        known = {sighting.key for sighting in self._seen}
        found = [self._entry(sighting) for sighting in self._seen]
        found += [
            {"run_id": run_id, "kind": kind, "resource": name, "outcome": "may_be_alive", "reason": why}
            for (run_id, kind, name), why in self.left.items()
            if (run_id, kind, name) not in known
        ]
        return {"executor": self._executor, "found": found}

    def _entry(self, sighting: Sighting) -> dict[str, Any]:
        outcome = None
        if self._applied:
            outcome = "may_be_alive" if sighting.key in self.left else "gone" if sighting.deletable else "left_alone"
        facts = {**to_json(sighting.found), "known": sighting.known, "in_use": sighting.in_use, "deletable": sighting.deletable}
        return {**facts, "outcome": outcome, "reason": self.left.get(sighting.key) or (None if sighting.deletable else _why_not(sighting))}


_HEADER = ("kind", "name", "state", "age", "owner")


def _row(sighting: Sighting) -> tuple[object, ...]:
    found = sighting.found
    age = duration(max(time.time() - found.created, 0.0)) if found.created is not None else "-"
    return found.kind, found.resource, found.state or "-", age, f"{'you' if found.mine else 'not you'} ({found.owner or 'unknown'})"


def _user(sighting: Sighting) -> str:
    if sighting.in_use:
        return f"in use by {sighting.in_use}"
    return "known here, nobody works on it" if sighting.known else "not known here"


def _why_not(sighting: Sighting) -> str:
    if not sighting.found.mine:
        return "not yours"
    return f"in use by {sighting.in_use}" if sighting.in_use else "nothing but its name says that it is evalx's; delete it by hand"
