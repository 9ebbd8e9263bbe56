"""Which names say that their value is a secret, and the refusal of secrets written into a config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from evalx.config.source import KeyPath
from evalx.redaction import ENVIRONMENTS, looks_secret

HARNESS_SECTIONS = frozenset({"harness_config", "nemo_evaluator_config", "overrides"})
"""Keys whose content is the harness's own configuration."""

_SECRET_FIELD = re.compile(r"(^|[_.])(api_?key|access_key|private_key|token|password|passwd|secret)$")
_ENVIRONMENT_REFERENCE = re.compile(r"\$\{\s*oc\.env\s*:\s*['\"]?([A-Za-z0-9_]+)")
_VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_HARMLESS = re.compile(r"|[-+]?\d+(\.\d+)?|true|false|null|none", re.IGNORECASE)
_REFERENCE = re.compile(r"(host|secret|lit):.*", re.DOTALL)


def environments(tree: Any, at: KeyPath = ()) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Every mapping of environment variables in a config, with its key path. What a harness calls `env` is the harness's affair."""
    for key, value in _items(tree):
        if key in HARNESS_SECTIONS:
            continue
        if key in ENVIRONMENTS and isinstance(value, Mapping):
            yield (*at, key), value
        else:
            yield from environments(value, (*at, key))


def literal_secrets(tree: Any, at: KeyPath = (), *, in_harness: bool = False) -> Iterator[KeyPath]:
    """Where a config holds a secret as plain text: in variables and keys whose name says so. `lit:…` says it is meant.

    in_harness: harnesses also have keys such as `api_key` that hold the name of a variable, so names are let through there.
    """
    for key, value in _items(tree):
        here, inside = (*at, key), in_harness or key in HARNESS_SECTIONS
        if not inside and key in ENVIRONMENTS and isinstance(value, Mapping):
            yield from ((*here, name) for name, content in value.items() if looks_secret(str(name)) and _is_plain(content))
        elif _SECRET_FIELD.search(str(key).lower()) and _is_plain(value) and not (inside and _VARIABLE_NAME.fullmatch(value)):
            yield here
        else:
            yield from literal_secrets(value, here, in_harness=inside)


def resolved_secrets(tree: Any, at: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Where an unresolved config would have a secret of the environment written into it, and the variable's name."""
    for key, value in _items(tree):
        if isinstance(value, str):
            yield from (((*at, key), name) for name in _ENVIRONMENT_REFERENCE.findall(value) if looks_secret(name))
        else:
            yield from resolved_secrets(value, (*at, key))


def _items(tree: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(tree, Mapping):
        return tree.items()
    return enumerate(tree) if isinstance(tree, list) else ()


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping) and set(value) == {"value"}:
        value = value["value"]
    return isinstance(value, str) and not _HARMLESS.fullmatch(value) and not _REFERENCE.fullmatch(value) and value != "???"
