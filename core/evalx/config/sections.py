"""Sections of a config become instances of the classes that know them: ours, the executor's, the deployment variant's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from evalx import catalog
from evalx.config.schema import Sections
from evalx.config.source import KeyPath
from evalx.config.structure import MISSING, Reader
from evalx.errors import PluginError

EXECUTORS = "evalx.executors"


@frozen
class Typed:
    """The sections, structured. deployment_type: the variant's plugin name."""

    shared: Sections
    execution: Any
    deployment: Any
    deployment_type: str


def read_sections(tree: Mapping[str, Any], reader: Reader) -> Typed:
    """Structure a whole config; mistakes are kept in the reader, and the result is good only if there are none."""
    shared = reader.read(tree, Sections, ())
    execution = tree.get("execution")
    executor = _load_type(reader, EXECUTORS, execution, ("execution",)) if execution is not None else None
    deployment = tree.get("deployment", {"type": "none"})
    settings = options = None
    if executor is not None:
        settings = reader.read(execution, executor.Settings, ("execution",))
        options = _read_deployment(reader, executor.deployments, deployment)
    return Typed(shared, settings, options, deployment.get("type", "") if isinstance(deployment, Mapping) else "")


def _read_deployment(reader: Reader, group: str, section: Any) -> Any:
    variant = _load_type(reader, group, section, ("deployment",))
    if variant is None:
        return None
    keys = {key: value for key, value in section.items() if key != "type"}
    return reader.read(keys, variant.Options, ("deployment",))


def _load_type(reader: Reader, group: str, section: Any, at: KeyPath) -> Any:
    """The plugin class that a section's `type` names, or None after noting why there is none."""
    if not isinstance(section, Mapping):
        return reader.error(at, "expected a mapping of keys to values with a 'type'") and None
    name = section.get("type", MISSING)
    known = ", ".join(sorted({info.name for info in catalog.plugins(group)})) or "none is installed"
    if name == MISSING:
        return reader.error((*at, "type"), "mandatory, but not set: which plugin this section is for", f"one of: {known}") and None
    if not isinstance(name, str):
        return reader.error((*at, "type"), "expected the name of a plugin", f"one of: {known}") and None
    try:
        return catalog.load(group, name)
    except PluginError as error:
        return reader.error((*at, "type"), error.message, error.hint) and None
