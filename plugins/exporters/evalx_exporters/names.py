"""Names that a service accepts, one for each that it may not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from evalx.model import Metric

_UNUSUAL = re.compile(r"[^\w\-. ]")
LONGEST = 240


def fitting(names: Iterable[tuple[str, ...]]) -> list[str]:
    """Paths of letters, digits, `_`, `-`, `.`, spaces and `/`, each of them unique: what does not fit becomes `_`. names: their parts."""
    taken: set[str] = set()
    found = []
    for parts in names:
        stem = "/".join(_part(part) for part in parts)[:LONGEST].rstrip("/ ")
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        found.append(name)
    return found


def numbers(task: str, metric: Metric) -> Iterator[tuple[tuple[str, ...], float]]:
    """The numbers of a score, each with the parts of its name: the value, its standard error and how many samples it is made of."""
    path = (task, *metric.name.split("/"))
    for more, value in (("", metric.value), ("_stderr", metric.stderr), ("_n", metric.n)):
        if value is not None:
            yield (*path[:-1], path[-1] + more), value


def _part(text: str) -> str:
    """Services hide names that begin with `_`, and where they keep names as files, one with a dot would be hidden or another folder."""
    fit = _UNUSUAL.sub("_", text).strip()
    return f"x{fit}" if fit.startswith(("_", ".")) or not fit else fit
