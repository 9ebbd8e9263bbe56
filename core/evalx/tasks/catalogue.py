"""Queries to the catalogue. It is read once, when first asked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from attrs import field, frozen

from evalx.errors import ConfigError

_HINT_ALL = "`evalx tasks ls` lists them all"


@frozen
class CatalogueTask:
    """A task of a suite.

    image: the suite's container, without tag. digest: `sha256:...`, what is really run. endpoints: the endpoint types it asks.
    params: default parameters inside the container, for information. requires: what the model must be able to do (`logprobs`, ...).
    arch: `multiarch`, or `amd` where there is no ARM image. note: why this suite was chosen, for a name that several suites have.
    """

    suite: str
    name: str
    image: str
    digest: str
    endpoints: tuple[str, ...]
    params: Mapping[str, Any] = field(factory=dict)
    requires: tuple[str, ...] = ()
    arch: str = "multiarch"
    url: str = ""
    note: str | None = None

    @property
    def query(self) -> str:
        """The name that means this task only: `suite.task`."""
        return f"{self.suite}.{self.name}"

    @property
    def container(self) -> str:
        """The image by digest: what was published is what runs."""
        return f"{self.image}@{self.digest}"


def all_tasks() -> tuple[CatalogueTask, ...]:
    """Every task of every suite, in the catalogue's order."""
    return _catalogue().tasks


def resolve(query: str, endpoint_type: str | None = None) -> CatalogueTask:
    """The task that `task` or `suite.task` means.

    endpoint_type: what the task must be able to ask; it also decides between suites that have a task of the same name, where the
    catalogue's default would otherwise. `-` and `_` in a suite's name mean the same. Raises ConfigError, with suggestions, if there
    is no such task or it does not ask such endpoints.
    """
    suite, dot, name = query.rpartition(".")
    candidates = _in_suite(suite, name) if dot else _bare(name)
    fitting = [task for task in candidates if endpoint_type is None or endpoint_type in task.endpoints]
    if not fitting:
        raise _wrong_type(candidates, str(endpoint_type))
    return _preferred(fitting)


@frozen
class _Catalogue:
    tasks: tuple[CatalogueTask, ...]
    by_name: Mapping[str, list[CatalogueTask]]
    suites: Mapping[str, str]
    defaults: Mapping[str, Mapping[str, str]]


@cache
def _catalogue() -> _Catalogue:
    data = json.loads(files("evalx.tasks").joinpath("catalogue.json").read_text(encoding="utf-8"))
    tasks = tuple(_task(suite, entry, name, task) for suite, entry in data["suites"].items() for name, task in entry["tasks"].items())
    by_name: dict[str, list[CatalogueTask]] = {}
    for task in tasks:
        by_name.setdefault(task.name, []).append(task)
    return _Catalogue(tasks, by_name, {_folded(suite): suite for suite in data["suites"]}, data["defaults"])


def _task(suite: str, entry: Mapping[str, Any], name: str, task: Mapping[str, Any]) -> CatalogueTask:
    endpoints, requires = tuple(task["endpoints"]), tuple(task.get("requires", ()))
    return CatalogueTask(suite, name, entry["image"], entry["digest"], endpoints, task["params"], requires, entry["arch"], entry["url"])


def _folded(suite: str) -> str:
    return suite.lower().replace("-", "_")


def _in_suite(suite: str, name: str) -> list[CatalogueTask]:
    known = _catalogue().suites
    if _folded(suite) not in known:
        raise ConfigError(f"no suite {suite!r} in the catalogue", _suggest(suite, known.values(), "what there is: evalx tasks ls"))
    found = [task for task in _catalogue().by_name.get(name, ()) if task.suite == known[_folded(suite)]]
    if not found:
        names = [task.name for task in _catalogue().tasks if task.suite == known[_folded(suite)]]
        raise ConfigError(f"suite {known[_folded(suite)]} has no task {name!r}", _suggest(name, names, _HINT_ALL))
    return found


def _bare(name: str) -> list[CatalogueTask]:
    found = _catalogue().by_name.get(name)
    if not found:
        raise ConfigError(f"no task {name!r} in the catalogue", _suggest(name, _catalogue().by_name, _HINT_ALL))
    return found


def _preferred(fitting: Sequence[CatalogueTask]) -> CatalogueTask:
    """The only one, or the catalogue's default with a note that says so."""
    import attrs

    default = _catalogue().defaults.get(fitting[0].name)
    if len(fitting) == 1 or default is None:
        return fitting[0]
    chosen = next((task for task in fitting if task.suite == default["suite"]), fitting[0])
    others = ", ".join(task.query for task in fitting if task is not chosen)
    return attrs.evolve(chosen, note=f"{chosen.query} rather than {others}: {default['reason']}")


def _wrong_type(candidates: Sequence[CatalogueTask], endpoint_type: str) -> ConfigError:
    task = candidates[0]
    asked = ", ".join(sorted({endpoint for candidate in candidates for endpoint in candidate.endpoints}))
    similar = [other.query for other in _catalogue().tasks if endpoint_type in other.endpoints and other.name.startswith(task.name)]
    hint = f"with {endpoint_type}: {', '.join(similar[:5])}" if similar else f"set endpoint_type: {task.endpoints[0]}"
    return ConfigError(f"task {task.name} asks {asked} endpoints, not {endpoint_type}", hint)


def _suggest(word: str, known: Iterable[str], otherwise: str) -> str:
    folded = {name.lower().replace("-", "_"): name for name in known}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), folded, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(folded[name] for name in close)}?" if close else otherwise
