"""What can be wrong with the hooks of a plugin, found before any is called.

pluggy alone would leave a misspelt hook uncalled and a parameter with a default unfilled, both without a word. The manager of a run refuses
a plugin for the first of these mistakes; `evalx plugins check` tells an author all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pluggy
from attrs import frozen

from evalx import catalog
from evalx.hookspecs import ExecutorHooks, OptionalHooks

PROJECT = "evalx"


def names(spec_class: type) -> frozenset[str]:
    """The hooks that a class of specs declares."""
    return frozenset(name for name, member in vars(spec_class).items() if hasattr(member, f"{PROJECT}_spec"))


REQUIRED = names(ExecutorHooks)
OPTIONAL = names(OptionalHooks)

_HOOKS_HINT = f"an executor implements {', '.join(sorted(REQUIRED))}, each marked @hookimpl"


@frozen
class HookProblem:
    """message: a sentence that the plugin's name begins. member: the name of the method that is meant, None where one is missing."""

    message: str
    hint: str
    member: str | None = None


def missing_hooks(pm: pluggy.PluginManager, executor: object) -> Iterator[HookProblem]:
    """That an executor, class or instance, lacks some of the five."""
    hooks = {options.get("specname") or method for method, options in marked(pm, executor).items()}
    missing = [hook for hook in sorted(REQUIRED - hooks) if not callable(getattr(executor, hook, None))]
    if missing:
        found = "".join(f' It marks "{hook}".{guess}' for hook in sorted(hooks) if (guess := catalog.suggestion(hook, missing)))
        yield HookProblem(f"lacks the hook{'s' * (len(missing) > 1)} {', '.join(missing)}.{found}", _HOOKS_HINT)


def hook_problems(pm: pluggy.PluginManager, plugin: object, *, is_executor: bool) -> Iterator[HookProblem]:
    """Hooks of a plugin, class or instance, that are misspelt, of the wrong form, or not marked. pm: knows the hooks there are."""
    specs = {hook: caller for hook, caller in vars(pm.hook).items() if caller.spec}
    implemented = marked(pm, plugin)
    for method, options in implemented.items():
        hook = options.get("specname") or method
        if hook in specs:
            yield from _form_problems(method, hook, getattr(plugin, method), specs[hook].spec.argnames)
        elif not options.get("optionalhook"):
            known = sorted(specs)
            message = f'marks "{hook}" as a hook, but there is no such hook.{catalog.suggestion(hook, known)}'
            hint = f"the hooks are {', '.join(known)}; for one of a plugin that may be absent: @hookimpl(optionalhook=True)"
            yield HookProblem(message, hint, method)
    watched = REQUIRED | {"on_event"} | (OPTIONAL if is_executor else frozenset())
    for hook in sorted(watched - implemented.keys()):
        if callable(inspect.getattr_static(plugin, hook, None)):
            yield HookProblem(f"has a method {hook} that is not marked as a hook", f"put @hookimpl above `def {hook}`", hook)


def marked(pm: pluggy.PluginManager, plugin: object) -> Mapping[str, Any]:
    """The methods of a plugin that are marked as hooks, with what pluggy makes of each."""
    found = {name: pm.parse_hookimpl_opts(plugin, name) for name in dir(plugin)}
    return {name: options for name, options in found.items() if options is not None}


def _form_problems(method: str, hook: str, function: Callable[..., object], known: tuple[str, ...]) -> Iterator[HookProblem]:
    """pluggy passes neither keyword-only parameters nor those with a default, fills parameters by name, and never awaits."""
    if inspect.iscoroutinefunction(function):
        yield HookProblem(f"declares the hook {hook} async", "hooks are plain functions; they are called from worker threads", method)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty or parameter.kind is parameter.KEYWORD_ONLY:
            message = f'has a parameter "{parameter.name}" of hook {hook} that would never be filled'
            yield HookProblem(message, "hook parameters are positional and have no default", method)
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield HookProblem(
                f"takes *{parameter.name} in hook {hook}, which would be empty", f"name the parameters: {', '.join(known)}", method
            )
        elif parameter.name not in (*known, "self"):
            guess = catalog.suggestion(parameter.name, known)
            message = f'has a parameter "{parameter.name}" of hook {hook}, which has none of that name.{guess}'
            yield HookProblem(message, f"parameters are filled by name: def {hook}(self, {', '.join(known)})", method)
