"""Environment variables as a config writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalx.errors import ConfigError
from evalx.model import EnvValue, Secret

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
_FORMS = "write host:NAME (a variable of this machine), lit:TEXT, a plain value, {value: …} or {value_from: {secret_name_ref: NAME}}"


def parse_env(mapping: Mapping[str, Any]) -> dict[str, EnvValue]:
    """Variables with their values or references.

    `host:VAR` is a reference to a variable of evalx's own environment, `{value_from: {secret_name_ref: N}}` to a secret the platform
    keeps; `lit:x`, `{value: x}` and plain values are literals (true and false are written in lower case). Raises ConfigError with
    `where` the variable's name.
    """
    return {_checked_name(name): _parse(name, value) for name, value in mapping.items()}


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of an environment variable", "letters, digits, _ . and - can be in one", where=str(name)
        )
    return name


def _parse(name: str, value: Any) -> EnvValue:
    if isinstance(value, Mapping):
        return _parse_mapping(name, value)
    if isinstance(value, str):
        return _parse_text(name, value)
    return _literal(name, value)


def _parse_text(name: str, value: str) -> EnvValue:
    kind, colon, rest = value.partition(":")
    if colon and kind == "lit":
        return _literal(name, rest)
    if colon and kind == "host":
        return _reference(name, "host", rest)
    return _literal(name, value)


def _parse_mapping(name: str, value: Mapping[str, Any]) -> EnvValue:
    if set(value) == {"value"}:
        return _literal(name, value["value"])
    source = value.get("value_from")
    if set(value) == {"value_from"} and isinstance(source, Mapping) and set(source) == {"secret_name_ref"}:
        return _reference(name, "secret", source["secret_name_ref"])
    raise ConfigError("not a value for an environment variable", _FORMS, where=name)


def _reference(name: str, source: str, target: Any) -> Secret:
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        raise ConfigError(f"'{source}' must be followed by a name", _FORMS, where=name)
    return Secret(f"{source}:{target}")


def _literal(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise ConfigError("not a value for an environment variable", _FORMS, where=name)
    if "\0" in value:
        raise ConfigError("a value cannot hold a NUL character", "remove it from the value", where=name)
    return value
