"""What is wrong with `Settings` and `Options`: the keys that a plugin understands."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

import attrs

from evalx.checkup.candidates import Problem
from evalx.checkup.loading import place
from evalx.redaction import looks_secret

PLAIN = (bool, int, float, str, Path, dict, list, type(None))
TYPES = "bool, int, float, str, Path, Literal, Enum, Any, list, tuple[X, ...], Mapping[str, X], unions of these, and attrs classes"


def key_problems(cls: type, core: Mapping[str, Any], section: str, *, stored: bool = False) -> Iterator[Problem]:
    """What is wrong with the fields of an attrs class. core: keys that are evalx's own, and the type with which they may be stated anew;
    None: they may not. section: where users write the keys. stored: the values are written to files, so that none may be a secret."""
    try:
        kinds = typing.get_type_hints(cls)
    except Exception as error:  # noqa: BLE001 -- whatever an annotation raises
        yield Problem(place(cls), f"the types of {cls.__name__} cannot be found out: {error}", "import them at the top of the module")
        return
    for one in attrs.fields(cls):
        where = place(cls, one.name)
        if one.name in core and not one.inherited and kinds[one.name] != core[one.name]:
            yield Problem(
                where, f"the key '{one.name}' of {cls.__name__} is evalx's own", f"another name: '{one.name}' in {section} is taken"
            )
        if not one.inherited and not one.metadata.get("help"):
            hint = f'{one.name}: … = setting(…, help="…"), with setting from evalx.config'
            yield Problem(where, f"the key '{one.name}' of {cls.__name__} does not say what it is for", hint)
        if stored and looks_secret(one.name):
            yield Problem(where, f"the key '{one.name}' would hold a secret, and options are stored", "find it in the environment")
        yield from _type_problems(kinds[one.name], where, one.name, section)


def _type_problems(kind: Any, where: str, name: str, section: str) -> Iterator[Problem]:
    if attrs.has(typing.get_origin(kind) or kind):
        yield from key_problems(kind, {}, f"{section}.{name}")
    elif unreadable := next(_unreadable(kind), None):
        yield Problem(where, f"no config can give the key '{name}' a value of type {getattr(unreadable, '__name__', unreadable)}", TYPES)


def _unreadable(kind: Any) -> Iterator[Any]:
    """The parts of a type that `evalx.config.structure` cannot make from YAML."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind in (Any, object) or origin is Literal or attrs.has(kind):
        return
    if origin in (Union, types.UnionType):
        for part in parts:
            yield from _unreadable(part)
    elif origin is not None:
        if not isinstance(origin, type) or not issubclass(origin, Mapping | Sequence):
            yield kind
            return
        for part in parts[-1:] if issubclass(origin, Mapping) else parts[:1]:
            yield from _unreadable(part)
    elif not (isinstance(kind, type) and (kind in PLAIN or issubclass(kind, Enum))):
        yield kind
