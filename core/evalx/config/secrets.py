"""Which names say that their value is a secret, and the refusal of secrets written into a config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalx.config.source import KeyPath

ENVIRONMENTS = frozenset({"env", "envs", "env_vars"})
"""Keys whose mappings are environment variables, wherever they stand."""

_SECRET_VARIABLE = re.compile(r"TOKEN(?!IZER|S\b|S_)|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL|_KEY$")
_SECRET_FIELD = re.compile(r"(^|_)(api_?key|access_key|private_key|token|password|passwd|secret)$")
_HARMLESS = re.compile(r"|[-+]?\d+(\.\d+)?|true|false|null|none", re.IGNORECASE)
_REFERENCE = re.compile(r"(host|secret|lit):.*", re.DOTALL)


def looks_secret(name: str) -> bool:
    """Whether an environment variable or key of that name usually holds a secret."""
    return bool(_SECRET_VARIABLE.search(name.upper()) or _SECRET_FIELD.search(name.lower()))


def literal_secrets(tree: Any, at: KeyPath = ()) -> Iterator[KeyPath]:
    """Where a section holds a secret as plain text: in variables and keys whose name says so. `lit:…` says it is meant."""
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from literal_secrets(item, (*at, index))
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            if key in ENVIRONMENTS and isinstance(value, Mapping):
                yield from (((*at, key, name)) for name, content in value.items() if looks_secret(str(name)) and _is_plain(content))
            elif _SECRET_FIELD.search(str(key).lower()) and _is_plain(value):
                yield (*at, key)
            else:
                yield from literal_secrets(value, (*at, key))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping) and set(value) == {"value"}:
        value = value["value"]
    return isinstance(value, str) and not _HARMLESS.fullmatch(value) and not _REFERENCE.fullmatch(value) and value != "???"
