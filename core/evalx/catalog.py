"""Which plugins are installed, found from package metadata alone, and loading the one that is asked for.

Listing imports no plugin, so a broken one cannot hurt a command that does not use it. The built-in plugins are ordinary entry points
of evalx's own distribution: there is no second path.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any

from attrs import field, frozen

from evalx.errors import PluginError

GROUPS: Mapping[str, str] = {
    "evalx.executors": "executors",
    "evalx.lepton.deployments": "deployment variants of the lepton executor",
    "evalx.local.deployments": "deployment variants of the local executor",
    "evalx.harnesses": "harness adapters",
    "evalx.exporters": "exporters",
    "evalx.commands": "commands of the command line",
    "evalx.plugins": "plugins that a run names",
    "evalx.resolvers": "configuration resolvers",
}
"""Entry-point groups and what each holds. An executor may have groups of its own; all names start with `evalx.`."""

_UNVERSIONED = frozenset({"evalx.commands", "evalx.resolvers"})


@frozen
class PluginInfo:
    """A plugin as its distribution declares it. value: the entry point, `module:attribute`."""

    group: str
    name: str
    value: str
    distribution: str
    version: str
    _entry: EntryPoint = field(repr=False, eq=False, alias="entry")

    @property
    def source(self) -> str:
        """Distribution and version, as messages show them."""
        return f"{self.distribution} {self.version}"


def plugins(group: str | None = None) -> list[PluginInfo]:
    """The installed plugins, of one group or of all, by group and name; those that `EVALX_BLOCK` names are left out."""
    return [info for info in installed(group) if not _blocked(info)]


def installed(group: str | None = None) -> list[PluginInfo]:
    """The same, with those that `EVALX_BLOCK` names."""
    return [info for info in _installed() if group in (None, info.group)]


def blocked_names() -> frozenset[str]:
    """What `EVALX_BLOCK` names: plugins, as NAME or GROUP:NAME."""
    return frozenset(filter(None, (name.strip() for name in os.environ.get("EVALX_BLOCK", "").split(","))))


def load(group: str, name: str) -> Any:
    """The object behind a plugin's entry point; imports this plugin and no other.

    Raises PluginError if it is not installed, blocked, declared by two distributions, cannot be imported, or was written for another
    version of evalx's plugin interface.
    """
    info = _find(group, name)
    try:
        plugin = info._entry.load()
    except (Exception, SystemExit) as error:
        raise _import_failure(info, error) from error
    if group not in _UNVERSIONED:
        _check_version(info, plugin)
    return plugin


def source_of(plugin: object) -> str:
    """Where a plugin object comes from: its distribution and version, or at least its module."""
    module = str(getattr(plugin, "__module__", None) or getattr(plugin, "__name__", ""))
    same_root = [info for info in _installed() if _module(info).partition(".")[0] == module.partition(".")[0]]
    exact = [info for info in same_root if _module(info) == module]
    return next((info.source for info in exact + same_root), f"module {module}")


def suggestion(name: str, known: Sequence[str]) -> str:
    """` Did you mean "x"?` for a misspelt name, or nothing."""
    close = get_close_matches(name, known, n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def _module(info: PluginInfo) -> str:
    return info.value.partition(":")[0].strip()


def _installed() -> tuple[PluginInfo, ...]:
    return _scan(tuple((entry, _changed(entry)) for entry in sys.path))


def _changed(path: str) -> int | None:
    """Installing or removing a distribution changes its folder's time."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=4)
def _scan(_path: tuple[tuple[str, int | None], ...]) -> tuple[PluginInfo, ...]:
    found = [info for dist in _relevant() for info in _declared(dist)]
    return tuple(sorted(found, key=lambda info: (info.group, info.name, info.distribution)))


def _relevant() -> Iterator[Distribution]:
    """Each distribution that declares a plugin, once: what an import would find first, if it lies on sys.path twice.

    Metadata is parsed for these few only; parsing it for all would cost most of the time.
    """
    seen = set()
    for dist in distributions():
        if "[evalx." in (dist.read_text("entry_points.txt") or "") and (name := _name(dist)) not in seen:
            seen.add(name)
            yield _first(name) or dist


def _first(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _name(dist: Distribution) -> str:
    """Its normalised name; a distribution without readable metadata is its entry points' only owner, so any stable text will do."""
    return re.sub(r"[-_.]+", "-", _metadata(dist, "Name", str(dist.locate_file("")))).lower()


def _metadata(dist: Distribution, key: str, default: str) -> str:
    metadata = dist.read_text("METADATA") or dist.read_text("PKG-INFO")
    return (dist.metadata[key] if metadata else None) or default


def _declared(dist: Distribution) -> list[PluginInfo]:
    name, version = _metadata(dist, "Name", "an unnamed distribution"), _metadata(dist, "Version", "of unknown version")
    try:
        entries = [entry for entry in dist.entry_points if entry.group.startswith("evalx.")]
    except (TypeError, ValueError) as error:
        _warn_malformed(name, error)
        return []
    return [PluginInfo(entry.group, entry.name, entry.value, name, version, entry) for entry in entries]


def _warn_malformed(name: str, error: Exception) -> None:
    import structlog

    structlog.get_logger("evalx").warning("its plugins are not seen: malformed entry_points.txt", distribution=name, error=str(error))


def _blocked(info: PluginInfo) -> bool:
    names = blocked_names()
    return info.name in names or f"{info.group}:{info.name}" in names


def _find(group: str, name: str) -> PluginInfo:
    matches = [info for info in _installed() if (info.group, info.name) == (group, name)]
    allowed = [info for info in matches if not _blocked(info)]
    if not matches:
        raise _unknown(group, name)
    if not allowed:
        raise PluginError(f'plugin "{name}" ({group}) is blocked by EVALX_BLOCK', f"unset EVALX_BLOCK, or take {name} out of it")
    if len(allowed) > 1:
        raise _ambiguous(group, name, allowed)
    return allowed[0]


def _unknown(group: str, name: str) -> PluginError:
    names = [info.name for info in plugins(group)]
    listing = f"installed: {', '.join(names)}" if names else "none is installed"
    message = f'no plugin "{name}" in {group} ({GROUPS.get(group, "plugins")}).{suggestion(name, names)}'
    return PluginError(message, _extra_hint(name) or listing)


def _extra_hint(name: str) -> str | None:
    """What is not there may be one of evalx's own extras."""
    own = _first("evalx")
    extras = (own.metadata.get_all("Provides-Extra") if own else None) or []
    return f"pip install 'evalx[{name}]'" if name in extras else None


def _ambiguous(group: str, name: str, infos: Sequence[PluginInfo]) -> PluginError:
    sources = " and ".join(f"{info.source} ({info.value})" for info in infos)
    return PluginError(f'two plugins are called "{name}" in {group}: {sources}', f"pip uninstall {infos[-1].distribution}, or the other")


def _import_failure(info: PluginInfo, error: BaseException) -> PluginError:
    detail = str(error).partition("\n")[0]
    message = f'plugin "{info.name}" ({info.group}) of {info.source} cannot be loaded: {type(error).__name__}: {detail}'
    extras = ",".join(info._entry.extras)
    if extras and isinstance(error, ImportError):
        return PluginError(message, f"pip install '{info.distribution}[{extras}]'")
    return PluginError(message, f"pip install --upgrade {info.distribution}, or leave it out: EVALX_BLOCK={info.group}:{info.name}")


def _check_version(info: PluginInfo, plugin: object) -> None:
    from evalx.hookspecs import API_VERSION

    stated = getattr(plugin, "evalx_api", None)
    match stated:
        case (int(major), int(minor)):
            pass
        case _:
            message = f'plugin "{info.name}" of {info.source} states no evalx_api (found {stated!r})'
            raise PluginError(message, f"add `evalx_api = {API_VERSION}` to {info.value}")
    if major == API_VERSION[0] and minor <= API_VERSION[1]:
        return
    newer = (major, minor) > API_VERSION
    theirs, ours = f"{major}.{minor}", f"{API_VERSION[0]}.{API_VERSION[1]}"
    message = f'plugin "{info.name}" of {info.source} was written for plugin interface {theirs}, this evalx has {ours}'
    raise PluginError(message, f"pip install --upgrade {'evalx' if newer else info.distribution}")
