"""The JSON Schema for editors: it takes what evalx takes, and refuses what evalx refuses, in the same places."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator
from tests.docs.markdown import ROOT, Block, blocks, pages, write_files

from evalx import catalog
from evalx.config.env import parse_env
from evalx.config.json_schema import _object, config_schema
from evalx.config.schema import Evaluation, Plugins, Target
from evalx.config.sections import EXECUTORS
from evalx.config.source import dotted, parse_document, read_document
from evalx.config.structure import Reader
from evalx.errors import ConfigError, PluginError
from evalx.redaction import ENVIRONMENTS

SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
SHOWN = [block for page in pages() for block in blocks(page) if block.language == "yaml" and block.title]


def executors() -> list[str]:
    return [info.name for info in catalog.plugins(EXECUTORS) if info.distribution == "evalx"]


def choices() -> list[tuple[str | None, str | None]]:
    """Every executor with every variant of its own, and none."""
    variants = {name: catalog.load(EXECUTORS, name).deployments for name in executors()}
    pairs = [(name, info.name) for name in executors() for info in catalog.plugins(variants[name]) if info.distribution == "evalx"]
    return [(None, None), *((name, None) for name in executors()), *pairs]


@functools.cache
def validator(executor: str | None, deployment: str | None) -> Draft202012Validator:
    return Draft202012Validator(config_schema(executor, deployment))


def refused(data: Any, executor: str | None = None, deployment: str | None = None) -> list[str]:
    """Where the schema finds something wrong."""
    errors = validator(executor, deployment).iter_errors(data)
    return sorted({dotted(tuple(error.absolute_path)) for error in errors})


@pytest.mark.parametrize(("executor", "deployment"), choices())
def test_it_is_a_schema_and_plain_json(executor: str | None, deployment: str | None) -> None:
    schema = config_schema(executor, deployment)
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path: Path) -> None:
    assert refused(read_document(path).data) == []


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: f"{block.page.stem}-{block.title}")
def test_every_config_of_the_documentation_is_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(block.page, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # what plugins the page is about
    schema = Draft202012Validator(config_schema())
    assert [error.message for error in schema.iter_errors(parse_document(Path(block.title), block.text).data)] == []


@pytest.mark.parametrize("executor", executors())
def test_groups_and_types_choose_what_is_allowed(executor: str) -> None:
    wrong = {"execution": {"frobnicate": 1}, "deployment": {"frobnicate": 1}}
    for variant in [deployment for name, deployment in choices() if name == executor and deployment]:
        expected = ["deployment", "execution"]
        assert refused(wrong, executor, variant) == expected
        assert refused({"defaults": [{"execution": f"{executor}/default"}, {"deployment": variant}], **wrong}) == expected
        assert refused({"defaults": [{"override execution": f"{executor}/default"}, "_self_"], **wrong}) == ["execution"]
        typed = {section: {**keys, "type": name} for (section, keys), name in zip(wrong.items(), (executor, variant), strict=True)}
        assert refused({"defaults": [{"execution": "somewhere/else"}], **typed}) == expected
    assert refused({"execution": {"type": executor}, "deployment": {"type": "no-such"}}) == ["deployment.type"]


def test_exporters_and_their_options() -> None:
    assert refused({"export": {"csv": {"output": "x.csv"}, "junit": None}}) == []
    assert refused({"export": {"csv": {"outptu": "x.csv"}, "json": {"output": 1}}}) == ["export.csv", "export.json.output"]
    assert refused({"export": {"cvs": {}}}) == ["export"]


def test_what_no_section_is_called() -> None:
    assert refused({"evalutaion": {}}) == [""]
    with pytest.raises(PluginError, match="no-such"):
        config_schema("no-such")


# ---------------------------------------------------------------------- every key with every kind of value

VALUES: list[Any] = [True, 7, 1.5, "text", "8000", "0.5", "true", None, [], [1], ["a"], {}, {"a": 1}, {"a": {"frobnicate": 1}}, [{}]]


def classes() -> Iterator[type]:
    yield from (Target, Evaluation, Plugins)
    for name in executors():
        executor = catalog.load(EXECUTORS, name)
        yield executor.Settings
        for info in catalog.plugins(executor.deployments):
            if info.distribution == "evalx":
                yield catalog.load(info.group, info.name).Options


def nested(cls: type, at: tuple[str, ...] = ()) -> Iterator[tuple[type, tuple[str, ...], str]]:
    """Every key of a class and of those inside it: the class, the way to it, the key."""
    attrs.resolve_types(cls)
    for field in attrs.fields(cls):
        yield cls, at, field.name
        if isinstance(field.type, type) and attrs.has(field.type):
            yield from nested(field.type, (*at, field.name))


def _is_about_kinds(error: ConfigError, value: Any) -> bool:
    """Whether a schema should find it, too: not bounds of numbers in quotes, nor keys that a config group may still set."""
    if error.message.startswith("must be at least"):
        return not isinstance(value, str)
    return error.message.startswith(("expected", "unknown key")) or ("not set" in error.message and "[" in str(error.where))


@pytest.mark.parametrize("cls", list(classes()), ids=lambda cls: cls.__name__)
def test_it_refuses_the_kinds_of_values_that_evalx_refuses(cls: type) -> None:
    schema = Draft202012Validator(_object(cls))
    keys = [(at, name) for _, at, name in nested(cls) if name not in ENVIRONMENTS]
    for at, name in keys:
        for value in VALUES:
            data: Any = {name: value}
            for key in reversed(at):
                data = {key: data}
            reader = Reader(dotted)
            reader.read(data, cls, ())
            ours = any(_is_about_kinds(error, value) for error in reader.errors if str(error.where).startswith(".".join((*at, name))))
            assert schema.is_valid(data) != ours, f"{name}: {value!r}"


def test_unknown_keys_are_refused_where_evalx_refuses_them() -> None:
    for cls in classes():
        for at in {at for _, at, _ in nested(cls)}:
            data: Any = {"frobnicate": 1}
            for key in reversed(at):
                data = {key: data}
            (error,) = Draft202012Validator(_object(cls)).iter_errors(data)
            assert tuple(error.absolute_path) == at and "frobnicate" in error.message


def test_values_that_are_not_known_yet_are_taken_everywhere() -> None:
    for text in ("${oc.env:N}", "1${x}", "???"):
        assert refused({"execution": {"type": "local", "max_tasks": text, "runtime": text, "containers": {"cpus": text}}}) == []


def test_lower_bounds_are_those_of_evalx() -> None:
    assert refused({"execution": {"type": "local", "max_tasks": 0, "endpoints": 0}}) == ["execution.endpoints", "execution.max_tasks"]


ENVS: list[Any] = ["x", "host:A", 1, True, {"value": "x"}, {"value_from": {"secret_name_ref": "N"}}, None, [], {"secret": "x"}, {}]


@pytest.mark.parametrize("value", [*ENVS, {"value_from": {}}, {"value": "x", "value_from": {"secret_name_ref": "N"}}], ids=str)
def test_environment_variables_have_the_forms_that_evalx_reads(value: Any) -> None:
    try:
        parse_env({"NAME": value})
        expected = []
    except ConfigError:
        expected = ["evaluation.env_vars.NAME"]
    assert [where.removesuffix(".value_from") for where in refused({"evaluation": {"env_vars": {"NAME": value}}})] == expected
