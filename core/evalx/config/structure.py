"""Plain data into attrs classes: every mistake is found, each with its key, what was there and what was expected.

Strict on purpose: `true` is no number, a number is no text, unknown keys are errors. Conversions that are made, because environment
variables and shells only know text: "8000" where an integer is expected, "0.5" or an integer where a number is expected,
"true"/"false" where a bool is expected, text where a Path is expected.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import attrs

from evalx.config.source import KeyPath, dotted
from evalx.errors import ConfigError, ConfigErrors
from evalx.redaction import looks_secret

T = TypeVar("T")
MISSING = "???"
"""What a config writes for a value that somebody has to give."""

_INVALID: Any = object()
"""Stands for a value whose mistake has been noted."""

_EXAMPLES = {
    "true or false": "true",
    "an integer": "4",
    "a number": "0.5",
    "text": "'some text'",
    "a path": "./folder",
    "a mapping": "{NAME: VALUE}",
    "a list": "[ONE, TWO]",
}

_NOUNS: dict[Any, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path", type(None): "null"}


def structure(cls: type[T], data: Any, at: KeyPath = (), where: Callable[[KeyPath], str] = dotted) -> T:
    """An instance of an attrs class from plain data, such as a section of a plan. Raises ConfigErrors with all mistakes.

    at: the key under which the data sits, for messages. where: makes the location of a mistake from its key path.
    """
    reader = Reader(where)
    value = reader.read(data, cls, at)
    reader.check()
    return typing.cast(T, value)


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """`did you mean 'x'?` if something similar is known."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else None


def to_plain(instance: Any) -> dict[str, Any]:
    """The opposite of `structure`: dicts, lists and scalars, with every default filled in."""
    return attrs.asdict(instance, value_serializer=_plain_value)


def _plain_value(_instance: Any, _field: Any, value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


class Reader:
    """Structures values and keeps the mistakes it meets."""

    def __init__(self, where: Callable[[KeyPath], str]) -> None:
        self.errors: list[ConfigError] = []
        self._where = where

    def check(self) -> None:
        """Raises ConfigErrors, in the order of files and lines, if there were mistakes."""
        if self.errors:
            raise ConfigErrors(sorted(self.errors, key=_reading_order))

    def attempt(self, value: Any, kind: type[T]) -> T | None:
        """The value as that type if nothing is wrong with it; notes nothing."""
        other = Reader(self._where)
        result = other.read(value, kind, ())
        return None if other.errors else typing.cast(T, result)

    def error(self, at: KeyPath, message: str, hint: str | None = None) -> Any:
        """Note a mistake; returns a stand-in for the value."""
        self.errors.append(ConfigError(message, hint, where=self._where(at)))
        return _INVALID

    def read(self, value: Any, kind: Any, at: KeyPath, help: str = "") -> Any:  # noqa: A002
        """The value as that type. help: what the key is for, said when it is missing."""
        if kind is object:
            return value
        if value == MISSING:
            return self.missing(at, help)
        if kind is Any:
            return self._read_any(value, at)
        if attrs.has(kind):
            return self._read_class(value, kind, at)
        origin = typing.get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._read_union(value, typing.get_args(kind), at)
        if origin is Literal:
            return self._read_choice(value, {choice: choice for choice in typing.get_args(kind)}, at)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return self._read_choice(value, {member.value: member for member in kind}, at)
        if origin is not None:
            return self._read_container(value, origin, typing.get_args(kind), at)
        return self._read_plain(value, kind, at)

    def missing(self, at: KeyPath, help: str = "") -> Any:  # noqa: A002
        """Note that a mandatory key has no value."""
        purpose = f": {help}" if help else ""
        hint = f"set it in the config, or on the command line: {'.'.join(map(str, at))}=…" if len(at) > 1 else None
        if at in (("execution",), ("evaluation",)):
            hint = "evalx init writes a config to begin with, which has all that is needed"
        return self.error(at, f"mandatory, but not set{purpose}", hint)

    def _read_any(self, value: Any, at: KeyPath) -> Any:
        if value == MISSING:
            return self.missing(at)
        if isinstance(value, Mapping):
            return {key: self._read_any(item, (*at, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._read_any(item, (*at, index)) for index, item in enumerate(value)]
        return value

    def _read_class(self, value: Any, cls: Any, at: KeyPath) -> Any:
        if not isinstance(value, Mapping):
            return self._mismatch(value, "a mapping of keys to values", at)
        fields = {field.name: field for field in attrs.fields(cls) if field.init}
        hints = _hints(cls)
        for key in value:
            if key not in fields:
                self.error((*at, key), "unknown key", suggestion(str(key), fields) or f"known here: {', '.join(sorted(fields)) or 'none'}")
        before = len(self.errors)
        arguments = {}
        for name, field in fields.items():
            if name in value:
                arguments[name] = self.read(value[name], hints[name], (*at, name), field.metadata.get("help", ""))
            elif field.default is attrs.NOTHING:
                self.missing((*at, name), field.metadata.get("help", ""))
        return _INVALID if len(self.errors) > before else self._build(cls, arguments, at)

    def _build(self, cls: Any, arguments: dict[str, Any], at: KeyPath) -> Any:
        try:
            return cls(**arguments)
        except ConfigError as error:
            return self.error((*at, *_key_path(error.where)), error.message, error.hint)
        except (ValueError, TypeError) as error:
            names = [argument.name for argument in error.args[1:] if isinstance(argument, attrs.Attribute)]
            hint = _default_of(cls, names[0]) if names else None
            return self.error((*at, *names[:1]), str(error.args[0]) if error.args else type(error).__name__, hint)

    def _read_union(self, value: Any, kinds: tuple[Any, ...], at: KeyPath) -> Any:
        if value is None and type(None) in kinds:
            return None
        kinds = tuple(kind for kind in kinds if kind is not type(None))
        attempts = [Reader(self._where) for _ in kinds]
        for kind, attempt in zip(kinds, attempts, strict=True):
            result = attempt.read(value, kind, at)
            if not attempt.errors:
                return result
        fitting = [attempt for kind, attempt in zip(kinds, attempts, strict=True) if _same_shape(value, kind)]
        if len(kinds) == 1 or len(fitting) == 1:
            self.errors += (fitting or attempts)[0].errors
            return _INVALID
        return self._mismatch(value, " or ".join(_noun(kind) for kind in kinds), at)

    def _read_choice(self, value: Any, choices: Mapping[Any, Any], at: KeyPath) -> Any:
        for choice, result in choices.items():
            if value == choice and type(value) is type(choice):
                return result
        hint = suggestion(value, map(str, choices)) if isinstance(value, str) else None
        return self._mismatch(value, _one_of(choices), at, hint)

    def _read_container(self, value: Any, origin: Any, kinds: tuple[Any, ...], at: KeyPath) -> Any:
        if issubclass(origin, Mapping):
            if not isinstance(value, Mapping):
                return self._mismatch(value, "a mapping of keys to values", at)
            return {key: self.read(item, kinds[1], (*at, key)) for key, item in value.items()}
        if not issubclass(origin, Sequence):
            raise TypeError(f"a setting cannot be of type {origin}")
        if not isinstance(value, list | tuple):
            return self._mismatch(value, "a list", at)
        items = [self.read(item, kinds[0], (*at, index)) for index, item in enumerate(value)]
        return tuple(items) if issubclass(origin, tuple) else items

    def _read_plain(self, value: Any, kind: Any, at: KeyPath) -> Any:
        if kind is dict or kind is list:
            return self._read_any(value, at) if isinstance(value, kind) else self._mismatch(value, _noun(kind), at)
        if kind is type(None):
            return None if value is None else self._mismatch(value, "null", at)
        if kind is float and isinstance(value, float) and not math.isfinite(value):
            return self._mismatch(value, "a finite number", at)
        if type(value) is kind:
            return value
        converted = _converted(value, kind)
        if converted is not None:
            return converted
        hint = "put it in quotes" if kind is str and isinstance(value, bool | int | float) else None
        return self._mismatch(value, _noun(kind), at, hint)

    def _mismatch(self, value: Any, expected: str, at: KeyPath, hint: str | None = None) -> Any:
        return self.error(at, f"expected {expected}, found {_found(value, at)}", hint or _example(expected, value, at))


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _reading_order(error: ConfigError) -> tuple[str, int]:
    place = re.match(r"(.*?):(\d+)", error.where or "")
    return (place[1], int(place[2])) if place else ("", 0)


def _converted(value: Any, kind: Any) -> Any:
    """The value as that type where nothing is lost or guessed, else None."""
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, str):
        return None
    if kind is Path:
        return Path(value)
    if kind is bool:
        return {"true": True, "false": False}.get(value)
    if kind in (int, float):
        try:
            return kind(value) if value.isascii() and value == value.strip() and "_" not in value and "n" not in value.lower() else None
        except ValueError:
            return None
    return None


def _found(value: Any, at: KeyPath) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if looks_secret(str(at[-1]) if at else ""):
        return "another kind of value"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _example(expected: str, value: Any, at: KeyPath) -> str | None:
    """How the key could be written."""
    last = str(at[-1]) if at else ""
    start = "- " if at and isinstance(at[-1], int) else f"{last}: "
    if expected == "a list" and isinstance(value, str | int) and not looks_secret(last):
        return f"write {start}[{value}]"
    shown = re.findall(r"'([^']+)'", expected) + [example for noun, example in _EXAMPLES.items() if noun in expected]
    return f"such as {start}{shown[0]}" if at and shown else None


def _default_of(cls: Any, name: str) -> str | None:
    default = getattr(attrs.fields_dict(cls)[name], "default", attrs.NOTHING)
    if default is attrs.NOTHING or isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return None
    return f"leave {name} out, and it is {default}" if default is not None else f"leave {name} out, if none is wanted"


def _noun(kind: Any) -> str:
    if kind in _NOUNS:
        return _NOUNS[kind]
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _one_of(typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _one_of(member.value for member in kind)
    base = origin if isinstance(origin, type) else kind
    is_mapping = attrs.has(base) or (isinstance(base, type) and issubclass(base, Mapping))
    return "a mapping of keys to values" if is_mapping else "a list"


def _one_of(choices: Iterable[Any]) -> str:
    names = [f"'{choice}'" for choice in choices]
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _same_shape(value: Any, kind: Any) -> bool:
    """Whether a value is meant as that type, so that its mistakes, not those of other types, are worth reporting."""
    noun = _noun(kind)
    if isinstance(value, Mapping):
        return noun.startswith("a mapping")
    return noun == "a list" if isinstance(value, list | tuple) else False


def _key_path(where: str | None) -> KeyPath:
    return tuple(where.split(".")) if where else ()
