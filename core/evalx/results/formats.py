"""Parsing documents that anybody may have written: an error is a ResultError, never a crash, a flood or code."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from evalx.harnesses.api import ResultError

MAX_DEPTH = 100


def load_json(source: str, text: str) -> Any:
    """The JSON document. source: the file's name, for the message. Raises ResultError."""
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(source, pairs))
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{source} is not JSON: {error}") from None


def _unique(source: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values under one name nobody can say which is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ResultError(f"{source} has {twice[:80]!r} twice in one object")
    return found


def load_yaml(source: str, text: str) -> Any:
    """The YAML document, of plain types only. source: the file's name, for the message. Raises ResultError."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_shape(source, yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)  # noqa: S506 -- one of the two safe loaders
    except ResultError:
        raise
    except Exception as error:
        # Beside YAMLError, PyYAML lets out whatever int(), datetime() and indexing raise on nonsense.
        raise ResultError(f"{source} is not YAML: {' '.join(str(error).split())[:200]}") from error


def _check_shape(source: str, events: Any) -> None:
    """libyaml's loader ends the whole process on deep nesting, and merge keys grow exponentially: both are found in the event stream."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ResultError(f"{source} is nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise ResultError(f"{source} has merge keys (<<), which results have no use for")
