"""A config of nemo-evaluator-launcher as one of evalx: key by key, what stays, what is written otherwise, and what is left to the user.

The keys are those that its releases 0.1 and 0.2 publish. What no rule knows stays as it is, and evalx's own reading of the result says
what it makes of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from evalx.config.importing.comments import commented
from evalx.config.importing.rules import RULES
from evalx.config.importing.tree import Kind, Note, Work, drop_empty, leaves
from evalx.config.importing.variables import variables
from evalx.config.loading import load
from evalx.config.source import dotted, read_document
from evalx.errors import ConfigError, ConfigErrors

__all__ = ["Imported", "Kind", "Note", "import_file", "import_tree"]


@frozen
class Imported:
    """tree: the new config, as plain data. notes: on every key of the old one, in its order. comments: lines of the old file with comments,
    which the tree does not have. complete: evalx reads it without complaint."""

    tree: dict[str, Any]
    notes: tuple[Note, ...]
    comments: tuple[int, ...] = ()

    @property
    def complete(self) -> bool:
        return all(note.kind is not Kind.BY_HAND for note in self.notes)


def import_file(path: Path, executor: str | None = None) -> Imported:
    """The config in a file. executor: for which it shall be, whatever it says. Raises ConfigError if it cannot be read or imported."""
    document = read_document(path)
    return evolve(import_tree(document.data, executor), comments=commented(document.text))


def import_tree(old: Mapping[str, Any], executor: str | None = None) -> Imported:
    """The same from plain data, such as the config that the launcher has kept of a job."""
    work = Work(copy.deepcopy(dict(old)))
    before = [dotted(path) for path, _ in leaves(work.tree) if path[0] != "defaults"]
    for rule in (*RULES, variables):
        rule(work, executor)
    drop_empty(work.tree)
    told = {note.key for note in work.notes}
    problems = [Note(Kind.BY_HAND, *_place_and_text(error)) for error in _problems(work.tree)]
    told |= {note.key for note in problems}
    rest = [key for key in before if not any(_covers(one, key) for one in told)]
    here = {dotted(path) for path, _ in leaves(work.tree)}
    gone = [Note(Kind.LEFT_OUT, key, "was empty") for key in rest if key not in here]
    return Imported(work.tree, (*problems, *work.notes, *gone, *(Note(Kind.KEPT, key) for key in rest if key in here)))


def _covers(one: str, key: str) -> bool:
    return key == one or key.startswith((f"{one}.", f"{one}["))


def _problems(tree: dict[str, Any]) -> list[ConfigError]:
    try:
        load(tree)
    except ConfigErrors as errors:
        return errors.errors
    except ConfigError as error:
        return [error]
    return []


def _place_and_text(error: ConfigError) -> tuple[str, str]:
    key = (error.where or "").rpartition(" ")[2]
    return key, f"{error.message} ({error.hint})" if error.hint else error.message
