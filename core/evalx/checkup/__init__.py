"""What is wrong with a plugin: `evalx plugins check`.

A plugin is looked at as evalx meets it: found by its entry point, imported, its class examined. Nothing of it is run but its `__init__`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from evalx import catalog
from evalx.checkup.candidates import Candidate, Problem, installed, tree
from evalx.checkup.classes import class_problems
from evalx.checkup.loading import groups_known, imported_from, load

__all__ = ["Candidate", "Problem", "Report", "check"]


@frozen
class Report:
    """What was looked at, and what is wrong with it, in that order. general: what concerns no single plugin."""

    found: Sequence[tuple[Candidate, Sequence[Problem]]]
    general: Sequence[Problem] = ()

    @property
    def problems(self) -> int:
        """How many there are in all."""
        return len(self.general) + sum(len(problems) for _, problems in self.found)


def check(target: str | None = None) -> Report:
    """Look for all that is wrong. target: a plugin's name, a distribution's, or the folder of a source tree; None: all that is installed.

    Raises PluginError if nothing of that name is installed, ConfigError if the folder has no readable pyproject.toml.
    """
    is_folder = target is not None and (target == "." or "/" in target or Path(target, "pyproject.toml").exists())
    declared = tree(Path(target or "")) if is_folder else installed(target)
    with imported_from(declared.roots):
        return Report(_examined(declared.candidates), declared.problems)


def _examined(candidates: Sequence[Candidate]) -> list[tuple[Candidate, list[Problem]]]:
    """Each with its problems; where a group is misspelt, the class is looked at as one of the group that is meant."""
    known = groups_known([candidate.meant(sorted(catalog.GROUPS)) for candidate in candidates])
    meant = [candidate.meant(known) for candidate in candidates]
    return [(said, [*said.problems(known), *_problems(one, meant)]) for said, one in zip(candidates, meant, strict=True)]


def _problems(candidate: Candidate, others: Sequence[Candidate]) -> Iterator[Problem]:
    loaded, failure = load(candidate)
    if failure:
        yield failure
    else:
        yield from class_problems(candidate, loaded, others)
