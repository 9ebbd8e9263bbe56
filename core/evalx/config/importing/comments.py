"""The comments of the old config, which are not carried over: they may speak of keys that are called otherwise now, or hold such keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

import yaml

_COMMENT = re.compile(r"(?:^|(?<=\s))#")


def commented(text: str) -> tuple[int, ...]:
    """The numbers of the lines with comments. text: valid YAML."""
    plain = list(text)
    for token in yaml.scan(text):
        if isinstance(token, yaml.ScalarToken):
            for index in range(token.start_mark.index, token.end_mark.index):
                plain[index] = plain[index] if plain[index] == "\n" else "x"
    return tuple(number for number, line in enumerate("".join(plain).split("\n"), 1) if _COMMENT.search(line))


def ranges(numbers: Iterable[int]) -> str:
    """Such as `1-3, 7`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, one)) for one in found)
