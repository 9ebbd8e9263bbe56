"""The config that is being imported, and what was said of its keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from attrs import define, field, frozen

from evalx.config.secrets import HARNESS_SECTIONS
from evalx.config.source import KeyPath


class Kind(StrEnum):
    """What has become of a key."""

    BY_HAND = "to do by hand"
    CHANGED = "changed"
    ACTS_NOW = "acts now"
    LEFT_OUT = "left out"
    KEPT = "as it was"


@frozen
class Note:
    """What has become of one key of the old config, and why. Values are not repeated: they may be secrets."""

    kind: Kind
    key: str
    text: str = ""


@define
class Work:
    """The tree that is being changed, and what was said of it."""

    tree: dict[str, Any]
    notes: list[Note] = field(factory=list)

    def note(self, kind: Kind, key: str, text: str = "") -> None:
        self.notes.append(Note(kind, key, text))

    def get(self, key: str) -> Any:
        """The value of a dotted key; None if it has none."""
        node: Any = self.tree
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def pop(self, key: str) -> Any:
        """The same, and take it away."""
        parent, _, last = key.rpartition(".")
        node = self.get(parent) if parent else self.tree
        return node.pop(last, None) if isinstance(node, dict) else None

    def put(self, key: str, value: Any) -> None:
        """Set a dotted key; mappings are merged, and what is there wins."""
        *parents, last = key.split(".")
        node = self.tree
        for part in parents:
            node = node.setdefault(part, {})
        there = node.get(last)
        node[last] = under(there, value) if isinstance(there, dict) and isinstance(value, dict) else value if there is None else there

    @property
    def executor(self) -> str:
        return self._choice("execution")

    @property
    def variant(self) -> str:
        return self._choice("deployment") or "none"

    def _choice(self, group: str) -> str:
        """What `type` or the defaults list names."""
        section = self.get(group)
        if isinstance(section, dict) and isinstance(section.get("type"), str):
            return str(section["type"])
        named = [item[group] for item in self.tree.get("defaults") or () if isinstance(item, dict) and group in item]
        return str(named[-1]).partition("/")[0] if named else ""


def under(over: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        result[key] = under(value, result[key]) if isinstance(value, dict) and isinstance(result.get(key), dict) else value
    return result


def leaves(tree: Any, at: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value that has no keys in it; what is the harness's own is one value."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if key in HARNESS_SECTIONS:
            yield (*at, key), value
        elif (isinstance(value, Mapping) and value) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value)):
            yield from leaves(value, (*at, key))
        else:
            yield (*at, key), value


def drop_empty(tree: dict[str, Any]) -> None:
    """Sections of which nothing is left."""
    for key in [key for key, value in tree.items() if value == {}]:
        del tree[key]
