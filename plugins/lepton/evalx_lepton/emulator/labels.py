"""Label selectors: `a=b,c!=d,e,!f`, and `k in (a,b)`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SET = re.compile(r"\s*([^\s,!=]+)\s+(in|notin)\s+\(([^)]*)\)\s*(?:,|$)")


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy all requirements of a selector; an empty one selects everything."""
    for key, how, values in _SET.findall(selector):
        wanted = {value.strip() for value in values.split(",")}
        if (labels.get(key) in wanted) is (how == "notin"):
            return False
    return all(_holds(part.strip(), labels) for part in _SET.sub("", selector).split(",") if part.strip())


def _holds(requirement: str, labels: Mapping[str, str]) -> bool:
    key, differs, value = requirement.partition("!=")
    if differs:
        return labels.get(key.strip()) != value.strip()
    key, equals, value = requirement.replace("==", "=").partition("=")
    if equals:
        return labels.get(key.strip()) == value.strip()
    return requirement[1:].strip() not in labels if requirement.startswith("!") else requirement in labels
