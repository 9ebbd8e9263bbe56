"""The plugins that are to be checked: those installed, or those that a source tree declares."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from evalx import catalog
from evalx.errors import ConfigError, PluginError


@frozen
class Problem:
    """Something that is wrong. where: file and line, as far as they are known. hint: what mends it."""

    where: str
    message: str
    hint: str


@frozen
class Candidate:
    """A plugin as it is declared. source: distribution and version. where: of the declaration. entry: its entry point. tree: whether it
    is not installed but read from a source tree."""

    entry: EntryPoint
    source: str
    where: str
    tree: bool = False

    @property
    def group(self) -> str:
        return self.entry.group

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def distribution(self) -> str:
        """The distribution's normalised name."""
        return _normalised(self.source.partition(" ")[0])

    def meant(self, known: Sequence[str]) -> Candidate:
        """The same in the group that was probably meant."""
        close = [self.group] if self.group in known else get_close_matches(self.group, known, n=1, cutoff=0.85)
        return evolve(self, entry=EntryPoint(self.name, self.entry.value, close[0])) if close else self

    def problems(self, known: Sequence[str]) -> Iterator[Problem]:
        """What is wrong with the declaration."""
        if self.group not in known:
            close = get_close_matches(_dotted(self.group), known, n=1)
            guess, hint = (
                (f" Did you mean '{close[0]}'?", f'[project.entry-points."{close[0]}"]')
                if close
                else ("", f"groups are {', '.join(known)}")
            )
            yield Problem(self.where, f"evalx knows no group '{self.group}', and will not see this plugin.{guess}", hint)
        if _blocked(self):
            yield Problem(self.where, "it is blocked by EVALX_BLOCK", f"unset EVALX_BLOCK, or take {self.name} out of it")
        for other in catalog.installed(self.group):
            if other.name == self.name and _normalised(other.distribution) != self.distribution:
                message = f"{other.source} has a plugin '{self.name}' in {self.group} as well: neither can be used while both are installed"
                yield Problem(self.where, message, f"another name, or pip uninstall {other.distribution}")


@frozen
class Declared:
    """What is to be checked. problems: what concerns no single plugin. roots: folders that a source tree is imported from."""

    candidates: Sequence[Candidate]
    problems: Sequence[Problem] = ()
    roots: Sequence[Path] = ()


def installed(name: str | None) -> Declared:
    """The installed plugins: all, or those of that name, or those of the distribution of that name. Raises PluginError if there is none."""
    distributions, wanted = list(_distributions()), _normalised(name or "")
    declared, problems = _read(distributions)
    found = [one for one in declared if name in (None, one.name) or wanted == one.distribution]
    malformed = [problem for distribution, problem in problems if name is None or wanted == distribution]
    if found or malformed:
        return Declared(sorted(found, key=lambda one: (one.group, one.name, one.source)), malformed)
    if any(_normalised(dist.name) == wanted for dist in distributions):
        raise PluginError(
            f"the distribution {name} declares no plugin of evalx", '[project.entry-points."evalx.executors"] in pyproject.toml'
        )
    guess = catalog.suggestion(name or "", [one.name for one in declared])
    raise PluginError(
        f"no plugin '{name}' is installed.{guess}", "evalx plugins ls; a source tree is checked by its path: evalx plugins check ."
    )


def _read(distributions: Sequence[Distribution]) -> tuple[list[Candidate], list[tuple[str, Problem]]]:
    """The plugins that they declare, and by distribution what cannot be read. What never names evalx is not parsed: that costs most of
    the time."""
    declared, problems = [], []
    for dist in distributions:
        if "evalx" not in (dist.read_text("entry_points.txt") or "").lower():
            continue
        try:
            declared += [_of_distribution(dist, entry) for entry in dist.entry_points if _ours(entry.group)]
        except (TypeError, ValueError) as error:
            problem = Problem(
                f"{dist.name} {dist.version}", f"its entry_points.txt is malformed: {error}", f"pip install --force-reinstall {dist.name}"
            )
            problems.append((_normalised(dist.name), problem))
    return declared, problems


def tree(folder: Path) -> Declared:
    """The plugins that a source tree declares in its pyproject.toml. Raises ConfigError if that cannot be read."""
    path = folder / "pyproject.toml"
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{folder} has no pyproject.toml", "evalx plugins check PATH, the folder of a package") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "see the TOML specification") from error
    project = _mapping(document.get("project"))
    source = f"{project.get('name') or 'a package without name'} {project.get('version') or '(version not stated)'}"
    declared = _mapping(project.get("entry-points"))
    candidates = [
        Candidate(EntryPoint(str(name), str(value), str(group)), source, _line_of(path, text, str(group), str(name)), tree=True)
        for group, entries in declared.items()
        if _ours(str(group))
        for name, value in _mapping(entries).items()
    ]
    return Declared(candidates, [] if candidates else [_nothing_declared(path, project)], _roots(folder, document))


def _nothing_declared(path: Path, project: Mapping[str, Any]) -> Problem:
    if "entry-points" in project.get("dynamic", ()) or not project:
        hint = f"pip install {path.parent}, then evalx plugins check {project.get('name') or 'NAME'}"
        return Problem(str(path), "its entry points are not stated here, but made when it is built", hint)
    hint = '[project.entry-points."evalx.executors"] with a line: NAME = "package.module:Class"'
    return Problem(str(path), "it declares no plugin: an entry point is missing", hint)


def _roots(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    packages: Any = document
    for key in ("tool", "hatch", "build", "targets", "wheel", "packages"):
        packages = packages.get(key, ()) if isinstance(packages, Mapping) else ()
    stated = [folder / str(package) for package in packages] if isinstance(packages, list) else []
    return list(
        dict.fromkeys(path.absolute() for path in [*(package.parent for package in stated), folder / "src", folder] if path.is_dir())
    )


def _line_of(path: Path, text: str, group: str, name: str) -> str:
    """Where an entry point is written: the line of its name below the line of its group, or the line of the group."""
    inside, found = False, 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = group in line
            found = number if inside else found
        elif inside and re.match(rf"""\s*["']?{re.escape(name)}["']?\s*=""", line):
            return f"{path}:{number}"
    return f"{path}:{found}" if found else str(path)


def _of_distribution(dist: Distribution, entry: EntryPoint) -> Candidate:
    source = f"{dist.name} {dist.version}"
    return Candidate(entry, source, f"{source}, entry point {entry.name} = {entry.value}")


def _distributions() -> Iterator[Distribution]:
    """Each that is installed, once: what an import would find first."""
    seen = set()
    for dist in distributions():
        if dist.read_text("METADATA") and dist.name not in seen:
            seen.add(dist.name)
            yield dist


def _blocked(candidate: Candidate) -> bool:
    return candidate.name in (names := catalog.blocked_names()) or f"{candidate.group}:{candidate.name}" in names


def _ours(group: str) -> bool:
    """Whether a group is meant for evalx, however it is spelt."""
    return group.lower().startswith("evalx") or bool(get_close_matches(group, list(catalog.GROUPS), n=1, cutoff=0.85))


def _dotted(group: str) -> str:
    return re.sub(r"[-_:/]", ".", group)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
