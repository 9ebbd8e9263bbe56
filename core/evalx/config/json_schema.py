"""JSON Schema (draft 2020-12) of config files, for editors: made from the classes with which evalx reads configs.

It describes a *file*, not a composed config: mandatory keys may come from config groups and overrides, so only entries of lists must be
whole; any value may be `???` or hold an interpolation; and text that evalx reads as a number or bool is one. What depends on several
keys, or on what is installed, only `evalx plan` can tell.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

import attrs

from evalx import catalog
from evalx.config.schema import Sections
from evalx.config.sections import EXECUTORS
from evalx.exporters.loading import GROUP as EXPORTERS
from evalx.redaction import ENVIRONMENTS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_OPEN = r"\$\{|^\?\?\?$"
"""Text that stands for a value that is not known yet: an interpolation, or a mandatory value that is to be given."""

_SCALARS: dict[Any, tuple[str, str | None]] = {
    bool: ("boolean", r"^(true|false)$"),
    int: ("integer", r"^[+-]?[0-9]+$"),
    float: ("number", r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"),
    str: ("string", None),
    Path: ("string", None),
}
"""Type → its name in JSON, and the pattern of text that evalx reads as such a value."""

_VARIABLE: Schema = {
    "type": ["string", "number", "boolean", "object"],
    "properties": {
        "value": {"type": ["string", "number", "boolean"]},
        "value_from": {
            "type": "object",
            "properties": {"secret_name_ref": {"type": "string", "description": "Name of a secret that the platform keeps."}},
            "required": ["secret_name_ref"],
            "additionalProperties": False,
        },
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
_ENVIRONMENT: Schema = {
    "type": ["object", "string"],
    "pattern": _OPEN,
    "propertyNames": {"pattern": r"^[A-Za-z_][A-Za-z0-9._-]*$|\$\{"},
    "additionalProperties": _VARIABLE,
}


def config_schema(executor: str | None = None, deployment: str | None = None) -> Schema:
    """The schema of configs for that executor and deployment variant; of what is not given, a file's own choice decides.

    Raises PluginError if a plugin that is named is not installed, or one that may be chosen cannot be loaded.
    """
    schema: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
    schema["properties"] = {"defaults": _DEFAULTS, "hydra": _HYDRA, **_object(Sections)["properties"]}
    schema["properties"]["export"] |= _exports()
    if executor is not None:
        schema = _merged(schema, _for_executor(executor, deployment))
    else:
        names = sorted(info.name for info in catalog.plugins(EXECUTORS))
        schema["allOf"] = [{"if": _chosen("execution", name), "then": _for_executor(name, deployment)} for name in names]
    title = " on ".join(part for part in (deployment, executor) if part)
    return {"$schema": DIALECT, "title": f"evalx config: {title}" if title else "evalx config", **schema}


_DEFAULTS: Schema = {
    "description": "Configs and config groups that this one is made of, in order; _self_ is this file.",
    "type": "array",
    "items": {"type": ["string", "object"], "additionalProperties": {"type": ["string", "array", "null"]}, "maxProperties": 1},
}
_HYDRA: Schema = {
    "description": "Further folders with config groups.",
    "type": "object",
    "properties": {"searchpath": {"type": "array", "items": {"type": "string"}}},
    "additionalProperties": False,
}


def _exports() -> Schema:
    """The exporters that are installed, each with its options; one whose libraries are missing has those, too."""
    names = sorted(info.name for info in catalog.plugins(EXPORTERS))
    return {"type": "object", "properties": {name: _exporter(name) for name in names}, "additionalProperties": False}


def _exporter(name: str) -> Schema:
    schema = _object(catalog.load(EXPORTERS, name).Options)
    output = {"type": ["string", "null"], "description": "The file, or the folder, that is written."}
    return {**schema, "type": ["object", "null"], "properties": {"output": output, **schema["properties"]}}


def _for_executor(name: str, deployment: str | None) -> Schema:
    executor = catalog.load(EXECUTORS, name)
    execution = _object(executor.Settings)
    execution["properties"]["type"] = {"const": name, **_described("The executor.")}
    schema: Schema = {"properties": {"execution": execution}}
    if deployment is not None:
        return _merged(schema, _for_deployment(executor.deployments, deployment))
    variants = sorted(info.name for info in catalog.plugins(executor.deployments))
    schema["properties"]["deployment"] = {"properties": {"type": {"enum": variants, **_described("The deployment variant.")}}}
    schema["allOf"] = [{"if": _chosen("deployment", each), "then": _for_deployment(executor.deployments, each)} for each in variants]
    return schema


def _for_deployment(group: str, name: str) -> Schema:
    options = _object(catalog.load(group, name).Options)
    options["properties"] = {"type": {"const": name, **_described("The deployment variant.")}, **options["properties"]}
    return {"properties": {"deployment": options}}


def _chosen(group: str, name: str) -> Schema:
    """Whether a file chooses that plugin: by `type`, or, without it, by a config group of that name in its defaults list."""
    named = {"properties": {group: {"type": "object", "properties": {"type": {"const": name}}, "required": ["type"]}}, "required": [group]}
    choice = {"type": "string", "pattern": f"^{name}(/|$)"}
    listed = [{"properties": {key: choice}, "required": [key]} for key in (group, f"override {group}")]
    typed = {"properties": {group: {"type": "object", "required": ["type"]}}, "required": [group]}
    defaults = {"properties": {"defaults": {"type": "array", "contains": {"type": "object", "anyOf": listed}}}, "required": ["defaults"]}
    return {"anyOf": [named, {**defaults, "not": typed}]}


def _merged(one: Schema, other: Schema) -> Schema:
    return {**one, **other, "properties": {**one["properties"], **other["properties"]}}


# ---------------------------------------------------------------------- types


def _object(cls: Any, *, whole: bool = False) -> Schema:
    """An attrs class. whole: it is an entry of a list, so nothing else can give it its mandatory keys."""
    hints = typing.get_type_hints(cls)
    fields = [field for field in attrs.fields(cls) if field.init]
    schema: Schema = {
        "type": ["object", "string"],
        "pattern": _OPEN,
        "properties": {field.name: _field(field, hints[field.name]) for field in fields},
        "additionalProperties": False,
    }
    mandatory = [field.name for field in fields if field.default is attrs.NOTHING]
    return {**schema, "required": mandatory} if whole and mandatory else schema


def _field(field: attrs.Attribute[Any], hint: Any) -> Schema:
    help_text = field.metadata.get("help", "") + (" Mandatory." if field.default is attrs.NOTHING else "")
    schema = _ENVIRONMENT if field.name in ENVIRONMENTS else _type(hint)
    minimum = getattr(field.validator, "minimum", None)
    bound = {} if minimum is None else {"minimum": minimum}
    usual = field.default if isinstance(field.default, bool | int | float | str) else None
    return {**_described(help_text), **({} if usual is None else {"default": usual}), **schema, **bound}


def _described(text: str) -> Schema:
    return {"description": text} if text else {}


def _type(hint: Any, *, whole: bool = False) -> Schema:
    if hint is Any or hint is object:
        return {}
    if attrs.has(hint):
        return _object(hint, whole=whole)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(inner)
    if origin is Literal:
        return _choice(inner)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice([member.value for member in hint])
    if hint in _SCALARS:
        name, text = _SCALARS[hint]
        return {"type": name} if text is None else {"type": [name, "string"], "pattern": f"{text}|{_OPEN}"}
    base = origin or hint
    if isinstance(base, type) and issubclass(base, Mapping):
        values = _type(inner[1]) if len(inner) > 1 else {}
        return {"type": ["object", "string"], "pattern": _OPEN, "additionalProperties": values}
    if isinstance(base, type) and issubclass(base, Sequence):
        items = _type(inner[0], whole=True) if inner else {}
        return {"type": ["array", "string"], "pattern": _OPEN, "items": items}
    return {}


def _choice(values: Sequence[Any]) -> Schema:
    return {"anyOf": [{"enum": list(values)}, {"type": "string", "pattern": _OPEN}]}


def _union(kinds: Sequence[Any]) -> Schema:
    """Where one of the kinds is null, the other's schema takes it in, so that editors have one schema to explain."""
    others = [_type(kind) for kind in kinds if kind is not type(None)]
    nullable = len(others) < len(kinds)
    if len(others) == 1 and "type" in others[0]:
        return {**others[0], "type": [*_names(others[0]), *(["null"] if nullable else [])]}
    if any(not schema for schema in others):
        return {}
    return {"anyOf": [*others, *([{"type": "null"}] if nullable else [])]}


def _names(schema: Schema) -> list[str]:
    return [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
