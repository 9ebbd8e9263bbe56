"""What an executor says it would send (hook `preview`), for `evalx plan`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from evalx.display.text import clean

WIDTH = 80
"""Columns that lines keep to, unless what is sent has no place for a break."""

LONGEST_WORD = 200
"""Characters; data that is longer and has no spaces is cut."""


class Preview:
    """The executor's answer, with `unnamed` in place of the id that the run has not got yet.

    told: under `endpoints` and `tasks` by their names, whatever concerns one of them; under any other key what concerns the whole run.
    """

    def __init__(self, told: Mapping[str, Any], run_id: str, unnamed: str) -> None:
        self.told: dict[str, Any] = _replaced(told, {run_id: unnamed})
        whole = {key: value for key, value in self.told.items() if key not in ("endpoints", "tasks")}
        self._whole = whole
        self._shared = {value: f"<{key}: see the end>" for key, value in whole.items() if isinstance(value, str) and value}

    def of(self, kind: str, name: str) -> Iterator[str]:
        """Lines for one of the `endpoints` or `tasks`."""
        entry = (self.told.get(kind) or {}).get(name)
        if entry is not None:
            yield "  sent"
            yield from _yaml(_readable(entry, self._shared), 4)

    def rest(self) -> Iterator[str]:
        """Lines for what concerns the whole run."""
        for key, value in self._whole.items():
            yield f"\n{clean(key)}"
            if isinstance(value, str):
                yield from (f"  {line}".rstrip() for line in clean(value).strip("\n").splitlines())
            else:
                yield from _yaml(_readable(value, {}), 2)


def _replaced(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {_replaced(key, words): _replaced(item, words) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item, words) for item in value]
    if isinstance(value, str):
        for old, new in words.items():
            value = value.replace(old, new)
    return value


def _readable(value: Any, shared: Mapping[str, str]) -> Any:
    """Without texts that are shown elsewhere, and data in full length."""
    if isinstance(value, dict):
        return {key: _readable(item, shared) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item, shared) for item in value]
    if not isinstance(value, str):
        return value
    if len(value) > LONGEST_WORD and not any(map(str.isspace, value)):
        return f"{value[:40]}… ({len(value)} characters; --json shows all)"
    return shared.get(value) or clean(value)


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, every value in full wherever it comes again."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text.strip("\n") else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Any, indent: int) -> Iterator[str]:
    dumped: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH - indent)
    yield from (f"{' ' * indent}{line}".rstrip() for line in dumped.splitlines())
