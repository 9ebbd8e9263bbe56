"""Where each value of a composed config was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from evalx.config.source import Document, KeyPath, dotted


class Origins:
    """Remembers, as layers are put on top of each other, which of them gave a value last. primary: name of the primary file."""

    def __init__(self, primary: str) -> None:
        self._primary = primary
        self._places: dict[KeyPath, str] = {}

    def add_document(self, document: Document, package: str) -> None:
        """Another file, merged under the key path `package` ("" is the root)."""
        prefix = parse_key(package)
        for length in range(1, len(prefix) + 1):
            self._places.setdefault(prefix[:length], document.where())
        before = set(self._places)
        for key_path in document.lines:
            if (*prefix, *key_path) in before and isinstance(_value(document.data, key_path), list):
                self.forget((*prefix, *key_path))
        for key_path in document.lines:
            if key_path[:1] != ("defaults",):
                self._places[(*prefix, *key_path)] = document.where(key_path)

    def add_override(self, key: KeyPath, value: Any) -> None:
        """A value given on the command line."""
        if not isinstance(value, dict):
            self.forget(key)
        place = f"override {dotted(key)}"
        for length in range(1, len(key)):
            self._places.setdefault(key[:length], place)
        for key_path in _key_paths(value, key):
            self._places[key_path] = place

    def forget(self, key: KeyPath) -> None:
        """That key and all below it is no more."""
        for known in [known for known in self._places if known[: len(key)] == key]:
            del self._places[known]

    def keep_items(self, key: KeyPath, indices: Sequence[int]) -> None:
        """The list at that key was reduced to these of its items."""
        items = {known: place for known, place in self._places.items() if len(known) > len(key) and known[: len(key)] == key}
        new_index: dict[str | int, int] = {old: new for new, old in enumerate(indices)}
        for known in items:
            del self._places[known]
        for known, place in items.items():
            index, below = known[len(key)], known[len(key) + 1 :]
            if index in new_index:
                self._places[(*key, new_index[index], *below)] = place

    def find(self, key: KeyPath) -> str | None:
        """`file:line`, or `override key`; None if nobody wrote that key."""
        return self._places.get(key)

    def where(self, key: KeyPath) -> str:
        """The location of a mistake: where the key, or the nearest parent that somebody wrote, was written, and the key."""
        for length in range(len(key), 0, -1):
            place = self._places.get(key[:length])
            if place:
                return place if place == f"override {dotted(key)}" else f"{place} {dotted(key)}"
        return f"{self._primary} {dotted(key)}"


def parse_key(text: str) -> KeyPath:
    """`a.b[0].c` (or `a.b.0.c`) as a key path."""
    parts = [part for part in re.split(r"[.\[\]]", text) if part]
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _value(data: Any, key_path: KeyPath) -> Any:
    for part in key_path:
        data = data[part]
    return data


def _key_paths(value: Any, at: KeyPath) -> Iterator[KeyPath]:
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _key_paths(item, (*at, str(key) if isinstance(value, dict) else key))
