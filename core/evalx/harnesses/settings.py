"""The settings a task gives its harness: reading and checking them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from evalx.errors import ConfigError
from evalx.model import TaskSpec


def task_settings(task: TaskSpec, known: Collection[str], what: str, otherwise: str | None = None) -> dict[str, Any]:
    """A copy of the task's settings with its overrides in them.

    Overrides are dotted keys; text values of theirs are read as YAML, as `nemo-evaluator --overrides` does. known: the keys that what
    the settings are for (`what`) has. otherwise: the hint for an unknown key that is similar to none. Raises ConfigError.
    """
    params = task.options.get("params") or {}
    if not isinstance(params, Mapping):
        raise ConfigError(f"the settings of {what} must be a mapping, not {type(params).__name__}", "write KEY: VALUE below it")
    settings: dict[str, Any] = json.loads(json.dumps(params))
    for key, value in (task.options.get("overrides") or {}).items():
        set_dotted(settings, key, _typed(value))
    _check_keys(settings, known, what, otherwise)
    return settings


def _check_keys(settings: Mapping[str, Any], known: Collection[str], what: str, otherwise: str | None) -> None:
    """Raises ConfigError if there is a key beside the known ones."""
    for key in settings:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else otherwise or f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"{what} has no setting {key!r}", hint)


def text_list(settings: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The non-empty list of strings (numbers count as such) under a key. Raises ConfigError."""
    value = settings.get(key)
    plain = isinstance(value, list | tuple) and all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in value)
    if not value or not plain:
        raise ConfigError(f"{key} must be a list of strings, the program first", f'{key}: [python3, eval.py, --url, "{{url}}"]')
    return tuple(map(str, value))


def counted(log: Sequence[str], pattern: re.Pattern[str]) -> tuple[int, int] | None:
    """The newest "n of N" in the lines of a log: groups 1 and 2 of the pattern. None if there is none that makes sense."""
    for line in reversed(log):
        for found in reversed(list(pattern.finditer(line))):
            done, total = int(found[1]), int(found[2])
            if 0 <= done <= total:
                return done, total
    return None


def get_dotted(tree: Any, dotted: str) -> Any:
    """The value under a dotted key; None if there is none."""
    for key in dotted.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def set_dotted(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets the value under a dotted key, making mappings on the way. Raises ConfigError if something else is in the way."""
    *parents, last = dotted.split(".")
    for key in parents:
        if tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
        if not isinstance(tree, dict):
            raise ConfigError(f"{dotted} cannot be set: {key} is not a mapping but {tree!r}", f"set {key} to a mapping, or not at all")
    tree[last] = value


def _typed(value: Any) -> Any:
    """Text as the YAML value it spells; itself, if that is none that JSON has (a date)."""
    import yaml

    if not isinstance(value, str):
        return value
    try:
        return json.loads(json.dumps(yaml.safe_load(value)))
    except (yaml.YAMLError, ValueError, TypeError):
        return value
