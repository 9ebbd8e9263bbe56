"""A first config of one's own: what a run needs with example values, and everything else as comments with its default.

It is made from the classes that read configs, so it knows the keys of plugins, too.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterator, Sequence
from textwrap import wrap
from typing import Any

import attrs
import yaml

from evalx import catalog
from evalx.config.schema import ApiEndpoint
from evalx.config.search import plugin_configs, shipped_configs
from evalx.config.sections import EXECUTORS
from evalx.config.settings import ExecutionSettings

COLUMNS = 100
RARE = {"type"} | {field.name for field in attrs.fields(ExecutionSettings)} - {"output_dir", "env_var_names", "max_tasks", "max_duration"}
"""Of the keys that all executors have, those that a first config does not mention; the reference has them."""


def starter(name: str, executor: str, deployment: str, tasks: Sequence[str]) -> str:
    """The text of a config file. name: how commands will call it. tasks: names for `evaluation.tasks`.

    Raises PluginError if one of the plugins is not installed.
    """
    runs_on = catalog.load(EXECUTORS, executor)
    options = catalog.load(runs_on.deployments, deployment).Options
    groups = [f"  - {group}: {choice}" for group, choice in _groups(executor, deployment)]
    lines = [*_head(name), "defaults:", *groups, "  - _self_", "", "execution:"]
    lines += _type("execution", f"{executor}/default", executor)
    lines += _keys(runs_on.Settings, "  ", skip=RARE)
    variant = [*_type("deployment", deployment, deployment), *_keys(options, "  ")]
    lines += ["", "deployment:", *variant] if variant else []
    if "served_model_name" not in attrs.fields_dict(options):
        lines += ["", "target:", "  api_endpoint:", *_keys(ApiEndpoint, "    ")]
    lines += ["", *_evaluation(tasks)]
    return "\n".join(lines) + "\n"


def _head(name: str) -> Iterator[str]:
    yield f"#   evalx plan {name}     all that would be created; creates nothing"
    yield f"#   evalx run {name}      run it"
    yield "#"
    yield "# Keys in comments show their defaults. For an editor that completes and checks keys:"
    yield "#   evalx config schema > .evalx-schema.json     and as the first line of this file:"
    yield "#   yaml-language-server: $schema=.evalx-schema.json"


def _groups(executor: str, deployment: str) -> Iterator[tuple[str, str]]:
    """The config groups that there are for the choice; a plugin need not bring one."""
    folders = [shipped_configs(), *plugin_configs()]
    for group, choice in (("execution", f"{executor}/default"), ("deployment", deployment)):
        if any((folder / group / f"{choice}.yaml").is_file() for folder in folders):
            yield group, choice


def _type(group: str, choice: str, name: str) -> list[str]:
    """`type`, where no config group says it."""
    executor, deployment = (name, "") if group == "execution" else ("", name)
    return [] if (group, choice) in _groups(executor, deployment) else [f"  type: {name}"]


def _keys(cls: Any, indent: str, skip: Collection[str] = (), inactive: bool = False) -> Iterator[str]:
    """The keys of a class, those that should be set first; each with what it is for. inactive: they stand in a comment already."""
    hints = typing.get_type_hints(cls)
    fields = [field for field in attrs.fields(cls) if field.init and field.name not in skip]
    for field in sorted(fields, key=lambda field: not _is_set(field)):
        yield from (f"{indent}# {line}" for line in wrap(field.metadata.get("help", ""), COLUMNS - len(indent), break_on_hyphens=False))
        mark = "" if inactive or _is_set(field) else "# "
        if attrs.has(hints[field.name]):
            yield f"{indent}{mark}{field.name}:"
            yield from (f"{indent}{mark}{line}" for line in _keys(hints[field.name], "  ", inactive=inactive or bool(mark)))
        else:
            yield f"{indent}{mark}{field.name}: {_flow(_value(field))}"


def _is_set(field: attrs.Attribute[Any]) -> bool:
    return field.default is attrs.NOTHING or field.metadata.get("example") is not None


def _value(field: attrs.Attribute[Any]) -> Any:
    example = field.metadata.get("example")
    if example is not None:
        return example
    if field.default is attrs.NOTHING:
        return "???"
    factory = getattr(field.default, "factory", None)
    return factory() if factory is not None else field.default


def _flow(value: Any) -> str:
    """The value on one line of YAML."""
    if isinstance(value, tuple):
        value = list(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _evaluation(tasks: Sequence[str]) -> Iterator[str]:
    yield "evaluation:"
    yield "  # Settings of all tasks of the catalogue; a task may have its own, under the same key."
    yield "  nemo_evaluator_config:"
    yield "    config:"
    yield "      params:"
    yield "        # Requests at the same time, and only a few samples for a first try: then take the line out."
    yield "        parallelism: 8"
    yield "        limit_samples: 10"
    yield "  # `evalx tasks ls` lists what there is, `evalx tasks show NAME` says more."
    yield "  tasks:"
    yield from (f"    - name: {_flow(task)}" for task in tasks)
