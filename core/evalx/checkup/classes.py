"""What is wrong with a plugin's class, by the kind of plugin that it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_type_hints

import attrs
import pluggy

from evalx import catalog
from evalx.checkup.candidates import Candidate, Problem
from evalx.checkup.loading import load, place
from evalx.checkup.options import key_problems
from evalx.config import ExecutionSettings
from evalx.hookchecks import PROJECT, HookProblem, hook_problems, marked, missing_hooks, names
from evalx.hookspecs import API_VERSION, ExecutorHooks, ObserverHooks, OptionalHooks

CORE_HOOKS = (ExecutorHooks, OptionalHooks, ObserverHooks)
METHODS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "evalx.harnesses": {"command": ("task", "target", "site"), "parse": ("task", "results")},
    "evalx.exporters": {"export": ("run", "destination", "options")},
}
"""By group, the methods that a class must have, and what they are given, in that order."""

OPTIONAL_METHODS: Mapping[str, tuple[str, ...]] = {"progress": ("log",), "details": ("task", "results"), "packages": ("task",)}
"""The methods that a harness may have."""


def class_problems(candidate: Candidate, plugin: Any, others: Sequence[Candidate]) -> Iterator[Problem]:
    """All that is wrong with what the entry point leads to. others: the plugins that are checked with it."""
    group = candidate.group
    if group in ("evalx.commands", "evalx.resolvers"):
        if not callable(plugin):
            yield Problem(place(plugin), f"{candidate.entry.value} cannot be called", "a click command, or a function")
        return
    if not inspect.isclass(plugin) and group != "evalx.plugins":
        kind = type(plugin).__name__
        yield Problem(
            candidate.where, f"{candidate.entry.value} is a {kind}, not a class", "name the class; evalx makes an instance for each run"
        )
        return
    yield from _version_problems(plugin)
    yield from _instance_problems(plugin)
    if group == "evalx.executors":
        yield from _executor_problems(plugin, others)
    elif group in METHODS:
        yield from _method_problems(plugin, METHODS[group])
        yield from _harness_problems(plugin) if group == "evalx.harnesses" else _exporter_problems(plugin)
    elif group == "evalx.plugins":
        yield from _plugin_problems(plugin, [spec for executor in _executors(others) for spec in getattr(executor, "hook_specs", ())])
    else:
        yield from _variant_problems(plugin, group, others)


# ---------------------------------------------------------------------- what every plugin has


def _version_problems(plugin: Any) -> Iterator[Problem]:
    stated = getattr(plugin, "evalx_api", None)
    match stated:
        case (int(major), int(minor)):
            pass
        case _:
            found = "" if stated is None else f" (found {stated!r})"
            yield Problem(place(plugin, "evalx_api"), f"it states no evalx_api{found}", f"evalx_api = {API_VERSION} in the class")
            return
    if major != API_VERSION[0] or minor > API_VERSION[1]:
        newer, ours = (major, minor) > API_VERSION, f"{API_VERSION[0]}.{API_VERSION[1]}"
        upgrade = "pip install --upgrade evalx" if newer else f"bring it up to {ours}, then: evalx_api = {API_VERSION}"
        where = place(plugin, "evalx_api")
        yield Problem(where, f"it was written for plugin interface {major}.{minor}, and this evalx has {ours}", upgrade)


def _instance_problems(plugin: Any) -> Iterator[Problem]:
    if not inspect.isclass(plugin):
        return
    if plugin.__eq__ is not object.__eq__:
        yield Problem(place(plugin), f"{plugin.__name__} compares by value, so pluggy cannot tell instances apart", "@define(eq=False)")
    try:
        plugin()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever its __init__ raises
        message = f"an instance cannot be made: {type(error).__name__}: {error}"
        yield Problem(
            place(plugin, "__init__"), message, "evalx makes it without arguments; what belongs to a run belongs into the hook setup"
        )


def _hook_problems(plugin: Any, specs: Sequence[type], *, is_executor: bool) -> Iterator[Problem]:
    pm = _manager(specs)
    for problem in hook_problems(pm, plugin, is_executor=is_executor):
        yield _as_problem(plugin, problem)


def _as_problem(plugin: Any, problem: HookProblem) -> Problem:
    return Problem(place(plugin, problem.member), f"it {problem.message}", problem.hint)


def _manager(specs: Sequence[type]) -> pluggy.PluginManager:
    pm = pluggy.PluginManager(PROJECT)
    for spec in dict.fromkeys((*CORE_HOOKS, *specs)):
        pm.add_hookspecs(spec)
    return pm


def _keys(plugin: Any, attribute: str, core: Mapping[str, Any], section: str, *, stored: bool = False) -> Iterator[Problem]:
    cls = getattr(plugin, attribute, None)
    if cls is None:
        yield Problem(place(plugin), f"it has no {attribute}, the class of its keys in {section}", f"{attribute} = …, an attrs class")
    elif not (inspect.isclass(cls) and attrs.has(cls)):
        yield Problem(place(plugin, attribute), f"{attribute} is not an attrs class", "@frozen(kw_only=True), from attrs")
    else:
        yield from key_problems(cls, core, section, stored=stored)


# ---------------------------------------------------------------------- executors and their variants


def _executor_problems(plugin: Any, others: Sequence[Candidate]) -> Iterator[Problem]:
    specs = getattr(plugin, "hook_specs", ())
    problems = list(_hook_problems(plugin, specs, is_executor=True))
    misspelt = [name for name in marked(_manager(specs), plugin) if any(f'"{name}"' in problem.message for problem in problems)]
    for missing in missing_hooks(_manager(specs), plugin):
        if not all(get_close_matches(name, misspelt, n=1) for name in _missing(plugin)):
            yield _as_problem(plugin, missing)
    yield from problems
    settings = getattr(plugin, "Settings", None)
    if inspect.isclass(settings) and attrs.has(settings) and not issubclass(settings, ExecutionSettings):
        yield Problem(
            place(settings), "Settings is no subclass of ExecutionSettings", "class Settings(ExecutionSettings), from evalx.config"
        )
    else:
        yield from _keys(plugin, "Settings", get_type_hints(ExecutionSettings), "execution")
    yield from _group_problems(plugin, others)


def _missing(plugin: Any) -> list[str]:
    return [name for name in sorted(names(ExecutorHooks)) if not callable(getattr(plugin, name, None))]


def _group_problems(plugin: Any, others: Sequence[Candidate]) -> Iterator[Problem]:
    group = getattr(plugin, "deployments", None)
    where = place(plugin, "deployments")
    if not isinstance(group, str) or not group.startswith("evalx."):
        message = "it has no `deployments`, the entry-point group of its deployment variants"
        yield Problem(where, message, 'deployments = "evalx.NAME.deployments"')
    elif not any(one.group == group for one in others) and not catalog.installed(group):
        message = f"no deployment variant is in {group}, so that `deployment.type` can name none"
        yield Problem(where, message, f'[project.entry-points."{group}"] with a variant, `none` for example')


def _executors(others: Sequence[Candidate]) -> list[Any]:
    """The executors there are: those that are checked, and those installed."""
    checked = [load(one)[0] for one in others if one.group == "evalx.executors"]
    return [one for one in [*checked, *map(_loaded, catalog.plugins("evalx.executors"))] if one is not None]


def _loaded(info: catalog.PluginInfo) -> Any:
    from evalx.errors import PluginError

    try:
        return catalog.load(info.group, info.name)
    except PluginError:
        return None


def _variant_problems(plugin: Any, group: str, others: Sequence[Candidate]) -> Iterator[Problem]:
    yield from _keys(plugin, "Options", {"type": None}, "deployment")
    specs = [spec for one in _executors(others) if getattr(one, "deployments", None) == group for spec in getattr(one, "hook_specs", ())]
    yield from _hook_problems(plugin, specs, is_executor=False)
    hooks = sorted(name for spec in specs for name in names(spec))
    implemented = marked(_manager(specs), plugin)
    for hook in sorted(set(hooks) - implemented.keys()):
        if callable(getattr(plugin, hook, None)):
            yield _as_problem(
                plugin, HookProblem(f"has a method {hook} that is not marked as a hook", f"put @hookimpl above `def {hook}`", hook)
            )
    if hooks and not implemented and not any(callable(getattr(plugin, hook, None)) for hook in hooks):
        yield Problem(
            place(plugin), f"it implements none of the hooks of its executor: {', '.join(hooks)}", f"@hookimpl, and def {hooks[-1]}(…)"
        )


# ---------------------------------------------------------------------- harnesses, exporters, observers


def _method_problems(plugin: Any, methods: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
    for name, parameters in methods.items():
        form = f"def {name}(self, {', '.join(parameters)})"
        method = inspect.getattr_static(plugin, name, None)
        if method is None:
            mine = [member for member, value in vars(plugin).items() if callable(value) and not member.startswith("_")]
            close = get_close_matches(name, mine, n=1)
            yield Problem(
                place(plugin, close[0] if close else None), f"it has no method {name}{f', but {close[0]}' if close else ''}", form
            )
        elif not _takes(getattr(plugin, name), len(parameters) + (not isinstance(method, staticmethod | classmethod))):
            yield Problem(place(plugin, name), f"its method {name} cannot be called with {', '.join(parameters)}", form)


def _takes(method: Callable[..., object], count: int) -> bool:
    """Whether a function can be called with so many positional arguments, and is not a coroutine."""
    try:
        inspect.signature(method).bind(*range(count))
    except TypeError:
        return False
    return not inspect.iscoroutinefunction(method)


def _harness_problems(plugin: Any) -> Iterator[Problem]:
    programs = getattr(plugin, "programs", ())
    if isinstance(programs, str) or not all(isinstance(program, str) for program in programs):
        yield Problem(place(plugin, "programs"), "`programs` is not a tuple of names", f"programs = ({programs!r},)")
    optional = {name: parameters for name, parameters in OPTIONAL_METHODS.items() if hasattr(plugin, name)}
    yield from _method_problems(plugin, optional)


def _exporter_problems(plugin: Any) -> Iterator[Problem]:
    yield from _keys(plugin, "Options", {"output": None}, "export", stored=True)
    if not hasattr(plugin, "file_name"):
        yield Problem(place(plugin), "it has no file_name", 'file_name = "scores.txt", or None if it writes no file')
    elif plugin.file_name is not None and (not isinstance(plugin.file_name, str) or "/" in plugin.file_name):
        yield Problem(place(plugin, "file_name"), f"file_name is {plugin.file_name!r}, not the name of a file", 'file_name = "scores.txt"')


def _plugin_problems(plugin: Any, specs: Sequence[type]) -> Iterator[Problem]:
    yield from _hook_problems(plugin, specs, is_executor=False)
    if not marked(_manager(specs), plugin):
        yield Problem(place(plugin), "it implements no hook", "@hookimpl above def on_event(self, run, event), for example")
