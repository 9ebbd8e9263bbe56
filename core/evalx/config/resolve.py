"""From a composed config to plain data: interpolations are replaced by what they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationToMissingValueError, OmegaConfBaseException

from evalx import catalog
from evalx.config.secrets import resolved_secrets
from evalx.config.source import MAX_DEPTH, KeyPath
from evalx.config.structure import MISSING
from evalx.errors import ConfigError, ConfigErrors, EvalxError

RESOLVERS = "evalx.resolvers"


def unresolved(config: DictConfig) -> dict[str, Any]:
    """Plain dicts, lists and scalars with interpolations as they are written."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return {str(key): value for key, value in plain.items()}


def resolve(config: DictConfig, where: Callable[[KeyPath], str]) -> dict[str, Any]:
    """Plain dicts, lists and scalars; values still to be given stay `???`. Raises ConfigErrors for all that do not resolve.

    where: makes the location of a mistake from its key path.
    """
    walk = _Walk(where)
    walk.refuse_secrets(unresolved(config))
    with _plugin_resolvers():
        tree = walk.mapping(config, ())
    if walk.errors:
        raise ConfigErrors(walk.errors)
    return tree


@contextmanager
def _plugin_resolvers() -> Iterator[None]:
    """Make `${name:...}` of the plugins known, and forget them again. Must be called by one thread at a time."""
    added = []
    try:
        for plugin in catalog.plugins(RESOLVERS):
            if not OmegaConf.has_resolver(plugin.name):
                OmegaConf.register_new_resolver(plugin.name, _lazy(plugin.name))
                added.append(plugin.name)
        yield
    finally:
        for name in added:
            OmegaConf.clear_resolver(name)


def _lazy(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return catalog.load(RESOLVERS, name)(*map(str, arguments))

    return call


class _Walk:
    def __init__(self, where: Callable[[KeyPath], str]) -> None:
        self.errors: list[ConfigError] = []
        self._where = where

    def refuse_secrets(self, tree: dict[str, Any]) -> None:
        """What is resolved is stored with the plan, so it must not be a secret."""
        for at, name in resolved_secrets(tree):
            hint = f"in environment mappings write host:{name}; it is looked up when it is needed and stored nowhere"
            self._error(at, f"the value of {name} would be stored with the run", hint)

    def mapping(self, node: DictConfig, at: KeyPath) -> dict[str, Any]:
        return {str(key): self._item(node, key, (*at, str(key))) for key in node}

    def _item(self, node: DictConfig | ListConfig, key: Any, at: KeyPath) -> Any:
        if len(at) > MAX_DEPTH:
            return self._error(at, "nested too deeply, or an interpolation that contains itself")
        try:
            if OmegaConf.is_missing(node, key):
                return MISSING
            value = node[key]
        except EvalxError as error:
            return self._error(at, error.message, error.hint)
        except OmegaConfBaseException as error:
            return self._interpolation_error(at, error)
        except RecursionError:
            return self._error(at, "an interpolation that contains itself")
        if isinstance(value, DictConfig):
            return self.mapping(value, at)
        if isinstance(value, ListConfig):
            return [self._item(value, index, (*at, index)) for index in range(len(value))]
        return value

    def _interpolation_error(self, at: KeyPath, error: OmegaConfBaseException) -> None:
        cause = _cause(error)
        if isinstance(cause, EvalxError):
            return self._error(at, cause.message, cause.hint)
        if isinstance(error, InterpolationToMissingValueError):
            return self._error(at, "refers to a value that is not set (???)")
        if isinstance(cause, GrammarParseError):
            return self._error(at, "refers to text that cannot be decoded")
        text = str(cause.args[0]) if cause and cause.args else str(error)
        return self._error(at, f"cannot be resolved: {text.partition(chr(10))[0]}", _interpolation_hint(text))

    def _error(self, at: KeyPath, message: str, hint: str | None = None) -> None:
        self.errors.append(ConfigError(message, hint, where=self._where(at)))


def _interpolation_hint(text: str) -> str | None:
    """What mends it, by what OmegaConf says."""
    if found := re.match(r"Environment variable '(\w+)' not found", text):
        return f"export {found[1]}=…, or say what it is otherwise: ${{oc.env:{found[1]},DEFAULT}}"
    if text.startswith("Interpolation key"):
        return "it must be the full path of a key of this config: ${section.key}"
    return "it refers to itself; give it a value" if text.startswith("Recursive") else None


def _cause(error: BaseException) -> BaseException | None:
    """The exception of a resolver, or of OmegaConf's own, behind an interpolation that failed."""
    cause = error.__cause__ or error.__context__
    return _cause(cause) or cause if isinstance(cause, OmegaConfBaseException) and not isinstance(cause, GrammarParseError) else cause
