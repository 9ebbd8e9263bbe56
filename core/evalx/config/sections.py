"""Sections of a config become instances of the classes that know them: ours, the executor's, the deployment variant's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from evalx import catalog
from evalx.config.exports import read_exports
from evalx.config.schema import Evaluation, Plugins, Sections, Target, Task
from evalx.config.source import KeyPath
from evalx.config.structure import MISSING, Reader
from evalx.errors import PluginError
from evalx.model import ExportSpec

EXECUTORS = "evalx.executors"


@frozen
class Typed:
    """The sections, structured; None for those with mistakes. tasks: those without mistakes, by their index in the config.
    deployment_type: the variant's plugin name."""

    execution: Any
    deployment: Any
    deployment_type: str
    target: Target | None
    evaluation: Evaluation | None
    plugins: Plugins | None
    exports: tuple[ExportSpec, ...]
    tasks: Mapping[int, Task]


def read_sections(tree: Mapping[str, Any], reader: Reader) -> Typed:
    """Structure a whole config; mistakes are noted in the reader, and what is right is there to be checked further."""
    reader.read(tree, Sections, ())
    execution, deployment = tree.get("execution"), tree.get("deployment", {"type": "none"})
    executor = _load_type(reader, EXECUTORS, execution, ("execution",)) if "execution" in tree else None
    return Typed(
        execution=_valid(reader, execution, executor.Settings, ("execution",)) if executor else None,
        deployment=_read_deployment(reader, executor.deployments, deployment) if executor else None,
        deployment_type=str(deployment.get("type", "")) if isinstance(deployment, Mapping) else "",
        target=reader.attempt(tree.get("target", {}), Target),
        evaluation=reader.attempt(tree.get("evaluation"), Evaluation),
        plugins=reader.attempt(tree.get("plugins", {}), Plugins),
        exports=read_exports(tree.get("export"), reader),
        tasks=_valid_tasks(tree.get("evaluation"), reader),
    )


def _valid(reader: Reader, section: Any, cls: Any, at: KeyPath) -> Any:
    before = len(reader.errors)
    value = reader.read(section, cls, at)
    return value if len(reader.errors) == before else None


def _valid_tasks(evaluation: Any, reader: Reader) -> dict[int, Task]:
    entries = evaluation.get("tasks") if isinstance(evaluation, Mapping) else None
    tasks = {index: reader.attempt(entry, Task) for index, entry in enumerate(entries if isinstance(entries, list) else [])}
    return {index: task for index, task in tasks.items() if task is not None}


def _read_deployment(reader: Reader, group: str, section: Any) -> Any:
    variant = _load_type(reader, group, section, ("deployment",))
    if variant is None:
        return None
    return _valid(reader, {key: value for key, value in section.items() if key != "type"}, variant.Options, ("deployment",))


def _load_type(reader: Reader, group: str, section: Any, at: KeyPath) -> Any:
    """The plugin class that a section's `type` names, or None after noting why there is none."""
    known = ", ".join(sorted({info.name for info in catalog.plugins(group)})) or "none is installed"
    if not isinstance(section, Mapping):
        reader.error(at, "expected a mapping of keys to values with a 'type'", f"type is one of: {known}")
        return None
    name = section.get("type", MISSING)
    if not isinstance(name, str) or name == MISSING:
        reader.error((*at, "type"), "mandatory, but not set: the plugin that this section is for", f"one of: {known}")
        return None
    try:
        return catalog.load(group, name)
    except PluginError as error:
        reader.error((*at, "type"), error.message, error.hint)
        return None
