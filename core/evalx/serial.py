"""Values to JSON and back, for the store, handles and `--json`."""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs
from attrs import has

from evalx.model import EndpointHandle, EndpointSpec, Handle, Secret, Spec, TaskHandle, TaskSpec

T = TypeVar("T")

_converter = cattrs.Converter()
_converter.register_unstructure_hook(Secret, lambda secret: {"secret_ref": secret.ref})
_converter.register_structure_hook(Secret, lambda data, _: Secret(data["secret_ref"]))
_converter.register_structure_hook(str | Secret, lambda data, _: data if isinstance(data, str) else Secret(data["secret_ref"]))


def to_json(value: Any) -> Any:
    """Plain dicts, lists, strings, numbers and None, from any value of `evalx.model`."""
    return _converter.unstructure(value, unstructure_as=type(value)) if has(type(value)) else _converter.unstructure(value)


def from_json(cls: type[T], data: Any) -> T:
    """The value that `to_json` made the data from. Raises cattrs errors if it does not fit."""
    return _converter.structure(data, cls)


def spec_from_json(kind: str, data: Any) -> Spec:
    """kind: `endpoint` or `task`."""
    return from_json(EndpointSpec, data) if kind == "endpoint" else from_json(TaskSpec, data)


def handle_from_json(kind: str, data: Any) -> Handle:
    """kind: `endpoint` or `task`."""
    return from_json(EndpointHandle, data) if kind == "endpoint" else from_json(TaskHandle, data)
