"""The plugin manager of one run: the executor, what it brought with it, and the observers.

Two runs in one process share nothing. Hooks are checked when a plugin is registered, because pluggy alone would leave a misspelt hook
uncalled and a parameter with a default unfilled, both without a word.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pluggy

from evalx import catalog
from evalx.errors import PluginError
from evalx.facade import Hooks
from evalx.hookchecks import OPTIONAL, PROJECT, hook_problems, missing_hooks
from evalx.hookspecs import ExecutorHooks, ObserverHooks, OptionalHooks

if TYPE_CHECKING:
    from evalx.context import RunContext
    from evalx.harnesses import Harness


class RunManager:
    """One per run. pm: the pluggy manager, for what this class does not offer. executor: the instance that does the work."""

    def __init__(self, executor: object, name: str, plugins: Sequence[tuple[str, object]] = ()) -> None:
        """name: the executor's plugin name. plugins: further plugins, as (name, instance). Raises PluginError.

        An executor that lets its sub-plugins implement hooks of its own lists their spec classes as `hook_specs`.
        """
        self.pm = pluggy.PluginManager(PROJECT)
        self.executor = executor
        self.muted: set[str] = set()
        self._harnesses: dict[str, Harness] = {}
        self._each: dict[tuple[str, ...], dict[str, pluggy.HookCaller]] = {}
        self._lock = threading.Lock()
        for specs in (ExecutorHooks, OptionalHooks, ObserverHooks, *getattr(executor, "hook_specs", ())):
            self.pm.add_hookspecs(specs)
        self._check_complete(executor, name)
        self.register(executor, name)
        for plugin_name, plugin in plugins:
            self.register(plugin, plugin_name)

    def hooks(self, run: RunContext, on_warning: Callable[[str], None] | None = None) -> Hooks:
        """The typed calls of this run. on_warning: told once of each observer that had to be muted; without it, the log is."""
        return Hooks(self, run, on_warning)

    def add_hookspecs(self, spec_class: type) -> None:
        """Let plugins that are registered from now on implement further hooks."""
        self.pm.add_hookspecs(spec_class)

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin instance. Raises PluginError for a hook that is misspelt, unmarked or of the wrong form, and for a name twice."""
        self._check(plugin, name)
        try:
            self.pm.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"{_who(plugin, name)} cannot be registered: {error}") from error

    def register_from(self, group: str, name: str) -> Any:
        """Load a plugin by name, make an instance and register it (once; then the same instance is returned). Raises PluginError."""
        known = self.pm.get_plugin(f"{group}:{name}")
        if known is not None:
            return known
        plugin = _instance(group, name)
        self.register(plugin, f"{group}:{name}")
        return plugin

    def harness(self, name: str) -> Harness:
        """The harness adapter of that name; one instance per run. Raises PluginError."""
        with self._lock:
            if name not in self._harnesses:
                self._harnesses[name] = _instance("evalx.harnesses", name)
            return self._harnesses[name]

    def capabilities(self) -> frozenset[str]:
        """The optional hooks that the executor implements."""
        return frozenset(name for name in OPTIONAL if self.executor in [impl.plugin for impl in self._caller(name).get_hookimpls()])

    def implements(self, hook: str) -> bool:
        """Whether any plugin of this run implements the hook."""
        return bool(self._caller(hook).get_hookimpls())

    def call(self, hook: str, **arguments: object) -> Any:
        """Call a hook. An exception keeps its type and gets a note that names the plugin it came from, its distribution and the hook."""
        caller = self._caller(hook)
        try:
            return caller(**arguments)
        except BaseException as error:
            blame(error, f"raised by {self._culprit(error, caller)} in hook {hook}")
            raise

    def call_each(self, hook: str, **arguments: object) -> Iterator[tuple[str, Callable[[], object]]]:
        """Each implementation of a list hook with its plugin's name, to be called on its own: one that raises does not hide the rest."""
        plugins = {impl.plugin_name: impl.plugin for impl in self._caller(hook).get_hookimpls()}
        if (hook, *plugins) not in self._each:
            others = {name: [plugin for other, plugin in plugins.items() if other != name] for name in plugins}
            self._each[hook, *plugins] = {name: self.pm.subset_hook_caller(hook, others[name]) for name in plugins}
        for name, caller in self._each[hook, *plugins].items():
            yield name, partial(caller, **arguments)

    def describe(self, name: str) -> str:
        """A registered plugin as messages name it: with its distribution and version."""
        return _who(self.pm.get_plugin(name), name)

    def implementers(self, hook: str) -> str:
        """The plugins whose answer a firstresult hook may have given, as messages name them."""
        impls = self._caller(hook).get_hookimpls()
        return " or ".join(self.describe(impl.plugin_name) for impl in reversed(impls))

    def takes(self, hook: str, parameter: str) -> bool:
        """Whether an implementation of the hook looks at that parameter, which others may have left out; True if there is none at all."""
        impls = self._caller(hook).get_hookimpls()
        return not impls or any(parameter in impl.argnames for impl in impls)

    def _caller(self, hook: str) -> pluggy.HookCaller:
        caller: pluggy.HookCaller = getattr(self.pm.hook, hook)
        return caller

    def _culprit(self, error: BaseException, caller: pluggy.HookCaller) -> str:
        """The plugin whose frame is the deepest in the traceback: a wrapper lets other plugins' exceptions pass through it."""
        names = {inspect.unwrap(impl.function).__code__: impl.plugin_name for impl in caller.get_hookimpls()}
        culprit, traceback = None, error.__traceback__
        while traceback is not None:
            culprit = names.get(traceback.tb_frame.f_code, culprit)
            traceback = traceback.tb_next
        return self.describe(culprit) if culprit else self.implementers(caller.name)

    def _check(self, plugin: object, name: str) -> None:
        who = _who(plugin, name)
        if type(plugin).__eq__ is not object.__eq__:
            raise PluginError(f"{who} compares by value, so pluggy cannot tell instances apart", "declare it with @define(eq=False)")
        for problem in hook_problems(self.pm, plugin, is_executor=plugin is self.executor):
            raise PluginError(f"{who} {problem.message}", problem.hint)

    def _check_complete(self, executor: object, name: str) -> None:
        for problem in missing_hooks(self.pm, executor):
            raise PluginError(f"{_who(executor, name)} {problem.message}", problem.hint)


def blame(error: BaseException, note: str) -> None:
    """Add the note, once, however often the same exception passes by."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _who(plugin: object, name: str) -> str:
    kind = plugin if inspect.isclass(plugin) or inspect.ismodule(plugin) else type(plugin)
    return f'plugin "{name}" ({catalog.source_of(kind)})'


def _instance(group: str, name: str) -> Any:
    loaded = catalog.load(group, name)
    if not inspect.isclass(loaded):
        return loaded
    try:
        return loaded()
    except Exception as error:
        blame(error, f"raised by {_who(loaded, name)} when an instance was made")
        raise
