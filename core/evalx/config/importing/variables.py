"""Environment variables of an imported config: where a value comes from, in evalx's words; and secrets as plain text, which stay behind."""

from __future__ import annotations

import re
from typing import Any

from evalx.config.importing.tree import Kind, Work, leaves
from evalx.config.secrets import literal_secrets
from evalx.config.source import KeyPath, dotted
from evalx.redaction import ENVIRONMENTS

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*(,[^}]*)?\}")
_UPPER = re.compile(r"[A-Z_][A-Z0-9_]*")


def variables(work: Work, _wanted: str | None) -> None:
    """Environment variables: the launcher's ways to say where a value comes from, and values that are secrets."""
    for path, value in list(leaves(work.tree)):
        inside = [index for index, part in enumerate(path) if part in ENVIRONMENTS]
        if len(path) >= 2 and path[-2] in ENVIRONMENTS and isinstance(value, str):
            _set(work, path, _variable(value, by_name="lepton_platform" not in path and "lepton_config" not in path))
        elif inside and path[-1] == "value" and isinstance(value, str) and FROM_ENVIRONMENT.fullmatch(value):
            _set(work, path, f"host:{FROM_ENVIRONMENT.fullmatch(value)[1]}")  # type: ignore[index]
        elif "api_tokens" in path and path[-1] == "value" and isinstance(value, str) and not value.startswith("lit:"):
            found = FROM_ENVIRONMENT.fullmatch(value)
            _set(work, path, value if value.startswith("host:") else f"host:{found[1] if found else 'ENDPOINT_API_KEY'}")
    for path in list(literal_secrets(work.tree)):
        name = str(path[-2] if path[-1] == "value" else path[-1])
        variable = len(path) >= 2 and path[-2] in ENVIRONMENTS
        _set(work, path, f"host:{name}" if variable else "???")
        if not variable:
            work.note(Kind.BY_HAND, dotted(path), "held a secret as plain text, which was not copied")


def _set(work: Work, path: KeyPath, value: str) -> None:
    node: Any = work.tree
    for part in path[:-1]:
        node = node[part]
    if node[path[-1]] == value:
        return
    node[path[-1]] = value
    if value.startswith("host:"):
        text = f"is {value}: export {value.removeprefix('host:')} where evalx runs"
        work.notes[:] = [note for note in work.notes if note.key != dotted(path)]
        work.note(Kind.CHANGED, dotted(path), text)
    elif value != "???":
        work.note(Kind.CHANGED, dotted(path), "is a plain value, marked as such")


def _variable(value: str, *, by_name: bool) -> str:
    """A variable's value in evalx's words. by_name: bare words are names of variables of the host, as outside of Lepton's own sections."""
    if value.startswith(("host:", "lit:")):
        return value
    if value.startswith("runtime:"):
        return f"host:{value.removeprefix('runtime:')}"
    found = FROM_ENVIRONMENT.fullmatch(value.strip())
    if found:
        return f"host:{found[1]}"
    if by_name and value.startswith("$") and VARIABLE.fullmatch(value[1:]):
        return f"host:{value[1:]}"
    return f"host:{value}" if by_name and _UPPER.fullmatch(value) else value
