"""From files and overrides to a validated `Config`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from evalx import catalog
from evalx.config.checks import check_meaning, check_values
from evalx.config.origins import Origins, parse_key
from evalx.config.schema import Evaluation, Target
from evalx.config.search import find_config, plugin_configs, shipped_configs
from evalx.config.sections import read_sections
from evalx.config.settings import ExecutionSettings
from evalx.config.source import Document, KeyPath, document_of, read_document, to_yaml
from evalx.config.structure import Reader, suggestion
from evalx.errors import ConfigError, ConfigErrors
from evalx.model import ExportSpec
from evalx.redaction import refer

_LOCK = threading.Lock()
"""Hydra and OmegaConf have global switches and registries; one composition at a time touches them."""


@frozen
class Config:
    """A validated config.

    path: its primary file. tree: all of it as plain data, resolved. execution: an instance of the executor's Settings. deployment: an
    instance of the deployment variant's Options. text: the composed YAML with references unresolved, safe to store.
    """

    path: Path
    tree: dict[str, Any]
    execution: ExecutionSettings
    deployment: Any
    deployment_type: str
    target: Target
    evaluation: Evaluation
    plugins: tuple[str, ...]
    exports: tuple[ExportSpec, ...]
    text: str
    _origins: Origins = field(repr=False, eq=False, alias="origins")

    def origin(self, key_path: str | KeyPath) -> str | None:
        """Who gave that key its value: `file:line` or `override key`; None if it was left to its default."""
        return self._origins.find(parse_key(key_path) if isinstance(key_path, str) else key_path)

    def where(self, key_path: str | KeyPath) -> str:
        """The location of a mistake in that key, for messages: `file:line key`."""
        return self._origins.where(parse_key(key_path) if isinstance(key_path, str) else key_path)


def load(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    config_name: str | None = None,
    executor: str | None = None,
    tasks: Sequence[str] = (),
) -> Config:
    """Compose, resolve and validate a config.

    config: a path, or a name found in the current folder, `./configs`, the shipped configs and those of plugins; or a mapping with what a
    file would hold. overrides: Hydra
    overrides. executor: wins over what the config says. tasks: keep only these of its tasks. Raises ConfigErrors with every mistake,
    each with its location; PluginError if a plugin it names cannot be loaded.
    """
    if isinstance(config, Mapping):
        primary = document_of(config)
    else:
        primary = read_document(find_config(str(config) if config else None, config_dir, config_name))
    tree, raw, origins = _compose(primary, _folders(primary, config_dir), overrides, executor)
    if tasks:
        _keep_tasks(tree, raw, tasks, origins)
    return _validate(primary.path, tree, to_yaml(raw), origins)


def execution_settings(executor: str, overrides: Sequence[str] = ()) -> ExecutionSettings:
    """An executor's settings without a config: those of its default config group, changed by overrides of `execution` keys.

    Raises ConfigErrors; PluginError if the executor cannot be loaded.
    """
    settings = catalog.load("evalx.executors", executor).Settings
    primary = Document(Path.cwd() / "--executor", "", {}, {})
    tree, _, origins = _compose(primary, _folders(primary, None), overrides, executor)
    reader = Reader(origins.where)
    for key in sorted(tree.keys() - {"execution"}):
        reader.error((key,), "without a config only keys of execution can be set")
    check_values(tree, reader)
    value: ExecutionSettings = reader.read(tree["execution"], settings, ("execution",))
    reader.check()
    return value


def _folders(primary: Document, config_dir: str | Path | None) -> list[Path]:
    """The search path of config groups; the first folder that has one wins."""
    given = [Path(config_dir).absolute()] if config_dir else []
    return [primary.path.parent, *given, *_declared_folders(primary), shipped_configs(), *plugin_configs()]


def _declared_folders(primary: Document) -> list[Path]:
    """`hydra.searchpath` of the primary file, the one key of `hydra` that means something here."""
    hydra = primary.data.get("hydra")
    if hydra is None:
        return []
    if not isinstance(hydra, dict) or set(hydra) - {"searchpath"} or not isinstance(hydra.get("searchpath", []), list):
        message = "evalx knows one key of 'hydra': searchpath, a list of folders"
        raise ConfigError(message, "hydra: {searchpath: [FOLDER]}", where=f"{primary.where(('hydra',))} hydra")
    folders = [primary.path.parent / str(entry).removeprefix("file://") for entry in hydra.get("searchpath", [])]
    for index, folder in enumerate(folders):
        if not folder.is_dir():
            raise ConfigError(
                f"no folder '{folder}'",
                "it is looked for beside the config",
                where=f"{primary.where(('hydra', 'searchpath', index))} hydra.searchpath",
            )
    return folders


def _compose(
    primary: Document, folders: Sequence[Path], overrides: Sequence[str], executor: str | None
) -> tuple[dict[str, Any], dict[str, Any], Origins]:
    """The composed config, resolved and unresolved, and where it was written."""
    from evalx.config.compose import compose
    from evalx.config.resolve import resolve, unresolved

    with _LOCK:
        composed = compose(primary, folders, overrides, executor)
        tree = resolve(composed.config, composed.origins.where)
    refer(tree)
    return tree, unresolved(composed.config), composed.origins


def _keep_tasks(tree: dict[str, Any], raw: dict[str, Any], names: Sequence[str], origins: Origins) -> None:
    """Leave only the named tasks in both trees."""
    entries = _task_entries(tree)
    found = [str(entry.get("name")) if isinstance(entry, dict) else "" for entry in entries]
    errors: list[ConfigError] = []
    for name in names:
        if name not in found:
            hint = suggestion(name, found) or f"it has: {', '.join(found)}"
            errors.append(ConfigError(f"the config has no task '{name}'", hint, where=f"--task {name}"))
    if errors:
        raise ConfigErrors(errors)
    kept = [index for index, name in enumerate(found) if name in names]
    for some in (entries, _task_entries(raw)):
        some[:] = [some[index] for index in kept if index < len(some)]
    origins.keep_items(("evaluation", "tasks"), kept)


def _task_entries(tree: dict[str, Any]) -> list[Any]:
    evaluation = tree.get("evaluation")
    entries = evaluation.get("tasks") if isinstance(evaluation, dict) else None
    return entries if isinstance(entries, list) else []


def _validate(path: Path, tree: dict[str, Any], text: str, origins: Origins) -> Config:
    reader = Reader(origins.where)
    sections = read_sections(tree, reader)
    check_values(tree, reader)
    check_meaning(sections, reader)
    reader.check()
    target, evaluation, plugins = sections.target, sections.evaluation, sections.plugins
    if target is None or evaluation is None or plugins is None:
        raise ConfigError("a section of the config cannot be read", "what each key is for: evalx config schema", where=str(path))
    return Config(
        path=path,
        tree=tree,
        execution=sections.execution,
        deployment=sections.deployment,
        deployment_type=sections.deployment_type,
        target=target,
        evaluation=evaluation,
        plugins=plugins.require,
        exports=sections.exports,
        text=text,
        origins=origins,
    )
