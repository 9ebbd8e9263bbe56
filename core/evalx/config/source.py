"""Reading one YAML file, with the line of every key; safely, whatever the file holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve, field, frozen

from evalx.errors import ConfigError

MAX_BYTES = 1 << 20
"""The largest config file that is read: 1 MiB."""

GIVEN = "(config)"
"""What stands for the file of a config that has none."""

MAX_DEPTH = 50
"""How deep mappings and lists may nest."""

MAX_NODES = 100_000
_PLAINER = "is it the right file? A config is smaller and plainer"
"""How many values a file may hold, aliases counted as often as they are used."""

KeyPath = tuple[str | int, ...]
"""Where a value sits in the tree: keys of mappings and indices of lists."""

_KINDS = frozenset({"str", "int", "float", "bool", "null", "merge", "map", "seq"})
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader as config files are commonly read: 1e-3 is a number, 2024-01-01 is text."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes what `_Loader` reads as the same value: text that it would take for a number is quoted."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


@frozen
class Document:
    """A config file. data: its content, a mapping. lines: the line of each value, by key path, parents before children."""

    path: Path
    text: str
    data: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(repr=False)

    def where(self, key_path: KeyPath = ()) -> str:
        """`file:line` of that key, or of the nearest parent that is written in the file."""
        while key_path and key_path not in self.lines:
            key_path = key_path[:-1]
        return f"{shown(self.path)}:{self.lines.get(key_path, 1)}"

    def without(self, section: str) -> Document:
        """The same file as if it did not have that section."""
        data = {key: value for key, value in self.data.items() if key != section}
        return evolve(self, data=data, lines={path: line for path, line in self.lines.items() if path[0] != section})


def shown(path: Path) -> str:
    """The path as a user wants to read it: relative to the current directory if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def dotted(key_path: KeyPath) -> str:
    """`evaluation.tasks[0].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key_path)
    return text.removeprefix(".")


def read_document(path: Path) -> Document:
    """Read a config file. Raises ConfigError with file and line: unreadable, too big, syntax, duplicate keys, not a mapping."""
    return parse_document(path, _read_text(path))


def document_of(data: Mapping[str, Any]) -> Document:
    """A config that a program gives instead of a file. Raises ConfigError if it is nothing that could stand in one."""
    try:
        text = to_yaml(dict(data))
    except yaml.YAMLError as error:
        raise ConfigError(
            f"not plain data: {error.args[0]}, {type(error.args[-1]).__name__}",
            "give text, numbers, true, false, None, lists and dicts",
            where=GIVEN,
        ) from None
    return evolve(parse_document(Path.cwd() / GIVEN, text), lines={})


def parse_document(path: Path, text: str) -> Document:
    """The text as the content of that file, which need not exist. Raises ConfigError like `read_document`."""
    name = shown(path)
    try:
        _check_depth(text, name)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Document(path, text, {}, {})
            _Checker(name).check(node)
            data = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _syntax_error(error, name, text) from None
    except ValueError as error:
        raise ConfigError(f"not readable as YAML: {error}", "is it the right file?", where=name) from None
    if not isinstance(data, dict):
        raise ConfigError(
            "a config is a mapping of keys to values", "to see one: evalx config show quickstart", where=f"{name}:{_line(node)}"
        )
    return Document(path, text, data, dict(_lines(node, ())))


def to_yaml(data: dict[str, Any]) -> str:
    """The data as YAML text, keys in their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    return text


def _read_text(path: Path) -> str:
    name = shown(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", "is the path right, and may you read it?", where=name) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES >> 10} KiB; this cannot be a config", "is it the right file?", where=name)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", "is it the right file? If so, save it as UTF-8", where=f"{name}:{line}") from None


def _check_depth(text: str, name: str) -> None:
    """Before anything recursive touches it: libyaml's own composer ends the process on deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"nested deeper than {MAX_DEPTH} levels", _PLAINER, where=f"{name}:{_line(event)}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _line(marked: yaml.Node | yaml.Event) -> int:
    return marked.start_mark.line + 1 if marked.start_mark else 1


def _syntax_error(error: yaml.YAMLError, name: str, text: str) -> ConfigError:
    if not isinstance(error, yaml.MarkedYAMLError):
        return ConfigError(f"not readable as YAML: {error}", "is it the right file?", where=name)
    mark = error.problem_mark or error.context_mark
    context = f" ({error.context})" if error.context else ""
    where = f"{name}:{mark.line + 1}" if mark else name
    return ConfigError(f"not valid YAML: {error.problem}{context}", _syntax_hint(text, mark), where=where)


def _syntax_hint(text: str, mark: yaml.Mark | None) -> str:
    """For the slips that YAML's own words do not explain."""
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent with spaces: YAML allows no tabs"
    return (
        "within braces, write '???' in quotes" if "???" in line else "is there a bracket, quote or colon too few in that line or above it?"
    )


class _Checker:
    """Looks at a file's nodes before they become values."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes = 0
        self._open: set[int] = set()

    def check(self, node: yaml.Node) -> None:
        """Raises ConfigError for what YAML allows and a config must not hold."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(node, f"more than {MAX_NODES} values, aliases included", _PLAINER)
        if id(node) in self._open:
            raise self._error(node, "an alias that contains itself", "write out what is meant")
        self._open.add(id(node))
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in _KINDS:
            raise self._error(node, f"YAML tag '{node.tag}' is not allowed", "remove the tag; text that begins with ! stands in quotes")
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            for key, value in node.value:
                self.check(key)
                self.check(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self.check(item)
        elif kind == "float" and not math.isfinite(_as_float(node.value)):
            raise self._error(node, "not a finite number", "write a number, or leave the key out")
        self._open.discard(id(node))

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                raise self._error(key, f"a key must be text, not {_described(key)}", "put it in quotes")
            if key.value in seen:
                raise self._error(
                    key, f"key '{key.value}' is given twice, first in line {seen[key.value]}", "remove one of them, or merge the two"
                )
            seen[key.value] = _line(key)

    def _error(self, node: yaml.Node, message: str, hint: str) -> ConfigError:
        return ConfigError(message, hint, where=f"{self._name}:{_line(node)}")


def _as_float(text: str) -> float:
    plain = text.lower().replace("_", "")
    return float(plain.replace(".inf", "inf").replace(".nan", "nan"))


def _described(key: yaml.Node) -> str:
    return f"'{key.value}'" if isinstance(key, yaml.ScalarNode) else "a list or mapping"


def _lines(node: yaml.Node, at: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), _line(key)
            yield from _lines(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*at, index), _line(item)
            yield from _lines(item, (*at, index))
