"""A package to begin a plugin with: small, complete, and green from its first minute.

Each kind of plugin is a folder of templates, filled in by `string.Template`: `$name` and the like are replaced, `$$` is a dollar sign, and
a folder called MODULE gets the name of the package.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from string import Template

from attrs import field, frozen

from evalx import catalog
from evalx.errors import ConfigError
from evalx.hookspecs import API_VERSION

TEMPLATES = Path(__file__).with_name("templates")
SUFFIX = ".tmpl"
LONGEST_NAME = 30
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


@frozen
class Kind:
    """A kind of plugin. group: of its entry point. noun: ends the class's name. module: where the class is. layers: folders of templates,
    laid over one another. further: entry points beside it, by group. dependencies, tools: what the package needs to run, and to be
    tested, beside pytest, ruff and mypy."""

    description: str
    group: str
    noun: str
    module: str
    layers: tuple[str, ...]
    further: Mapping[str, str] = field(factory=dict)
    dependencies: tuple[str, ...] = ("evalx",)
    tools: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "executor": Kind(
        "An executor for evalx: where evaluation tasks run.",
        group="evalx.executors",
        noun="Executor",
        module="executor",
        layers=("common", "asking", "executor"),
        further={"evalx.$group_name.deployments": 'none = "$module.executor:NoDeployment"'},
        dependencies=("evalx", "psutil"),
        tools=("types-psutil",),
    ),
    "local-deployment": Kind(
        "A deployment variant for evalx: a model server on this machine.",
        group="evalx.local.deployments",
        noun="Deployment",
        module="deployment",
        layers=("common", "asking", "local-deployment"),
    ),
    "lepton-deployment": Kind(
        "A deployment variant for evalx: a model server on DGX Cloud Lepton.",
        group="evalx.lepton.deployments",
        noun="Deployment",
        module="deployment",
        layers=("common", "lepton-deployment"),
        dependencies=("evalx[lepton]",),
    ),
    "harness": Kind(
        "A harness adapter for evalx: what evaluates a model.",
        group="evalx.harnesses",
        noun="Harness",
        module="harness",
        layers=("common", "harness"),
    ),
    "exporter": Kind(
        "An exporter for evalx: where the scores of a run go.",
        group="evalx.exporters",
        noun="Exporter",
        module="exporter",
        layers=("common", "asking", "exporter"),
    ),
}
"""What can be begun, by the word that names it on the command line."""


@frozen
class Scaffold:
    """A package that is about to be written. folder: where. files: their text, by path in the folder."""

    kind: str
    name: str
    folder: Path
    files: Mapping[str, str]

    @property
    def source(self) -> str:
        """The module to edit first."""
        return next(path for path in self.files if path.endswith(f"/{KINDS[self.kind].module}.py"))


def plan_scaffold(kind: str, name: str, output: Path | None = None) -> Scaffold:
    """The package for a new plugin, not written yet. output: its folder; by default one named after the distribution, below the current.

    Raises ConfigError for a name that cannot be one or is taken, and for a folder that holds something already.
    """
    names = _names(KINDS[kind], name)
    _check_free(KINDS[kind], name, names)
    folder = output or Path(names["distribution"])
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ConfigError(f"{folder} exists already, and nothing is overwritten", "another folder: --output DIR")
    files = {path: text for layer in KINDS[kind].layers for path, text in _fill(TEMPLATES / layer, names)}
    return Scaffold(kind, name, folder, dict(sorted(files.items())))


def write(scaffold: Scaffold) -> None:
    """Write its files. Raises ConfigError if one is there already or cannot be written."""
    try:
        for path, text in scaffold.files.items():
            target = scaffold.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        hint = "another folder: --output DIR"
        raise ConfigError(f"{error.filename or scaffold.folder} cannot be written: {error.strerror}", hint) from error


def _names(kind: Kind, name: str) -> dict[str, str]:
    """What the templates may say, all of it derived from the plugin's name."""
    _check_name(name)
    words = re.split(r"[-_]", name)
    title, module = "".join(word.capitalize() for word in words), "evalx_" + "_".join(words)
    names = {
        "name": name,
        "module": module,
        "distribution": "evalx-" + "-".join(words),
        "group_name": "_".join(words),
        "cls": f"{title.removesuffix(kind.noun)}{kind.noun}",
        "settings": f"{title}Settings",
        "options": f"{title}Options",
        "test_cls": f"Test{title.removesuffix(kind.noun)}{kind.noun}",
        "api": repr(API_VERSION),
        "description": kind.description,
        "dependencies": _toml_list(kind.dependencies),
        "dev_dependencies": _toml_list(("evalx[testing]", "mypy", "ruff", *kind.tools)),
    }
    own = {kind.group: f'"{name}" = "$module.{kind.module}:$cls"', **kind.further}
    groups = (f'[project.entry-points."{group}"]\n{entry}' for group, entry in own.items())
    names["entry_points"] = Template("\n\n".join(groups)).substitute(names)
    return names


def _toml_list(items: tuple[str, ...]) -> str:
    return json.dumps(items)[1:-1]


def _check_name(name: str) -> None:
    simple = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix("evalx-").lstrip("0123456789-")[:LONGEST_NAME].strip("-")
    hint = f"for example {simple}" if simple else "for example my-cluster"
    if name.startswith(("evalx-", "evalx_")):
        raise ConfigError(f"the package of {name!r} would be called evalx-{name}: 'evalx-' is put before the name anyway", hint)
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a plugin's name: lower-case letters, digits, '-' and '_', a letter first", hint)
    if len(name) > LONGEST_NAME:
        raise ConfigError(f"{name!r} is too long a name: {len(name)} characters, {LONGEST_NAME} are allowed", hint)


def _check_free(kind: Kind, name: str, names: Mapping[str, str]) -> None:
    """Raises ConfigError where a plugin, package or distribution of that name would stand in the way of the new one."""
    taken = next((info for info in catalog.plugins(kind.group) if info.name == name), None)
    if taken:
        raise ConfigError(f"{taken.source} has a plugin {name!r} in {kind.group} already", "another name")
    if importlib.util.find_spec(names["module"]):
        raise ConfigError(f"there is a Python package {names['module']} already, which the new one would hide", "another name")
    try:
        distribution(names["distribution"])
    except PackageNotFoundError:
        return
    raise ConfigError(f"{names['distribution']} is installed already", "another name")


def _fill(layer: Path, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The files of a folder of templates, filled in."""
    for template in layer.rglob(f"*{SUFFIX}"):
        parts = template.relative_to(layer).with_suffix("").parts
        path = PurePosixPath(*(names["module"] if part == "MODULE" else part for part in parts))
        yield str(path), Template(template.read_text(encoding="utf-8")).substitute(names)
