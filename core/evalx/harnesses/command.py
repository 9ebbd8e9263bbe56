"""Harness `command`: any program that asks the endpoint and writes a small results file.

Settings (the task's `harness_config`):

    command: [python3, my_eval.py, --url, "{url}", --out, "{results}/results.json"]

Placeholders: `{url}` full URL of the route, `{base_url}` up to `/v1`, `{model}`, `{results}` folder for results, `{workdir}`,
`{dataset_dir}`, `{task}`. A literal brace is doubled. The API key is in the variable named by `api_key_name` (default `API_KEY`).

The program writes `{results}/results.json`:

    {"schema": 1, "metrics": [{"name": "accuracy", "value": 0.75, "stderr": 0.1, "n": 20}]}

`stderr` and `n` may be left out or null. Names are unique, values finite, and `n`, where given, is at least 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalx.errors import ConfigError
from evalx.harnesses.api import HarnessCommand, ResultError, Target
from evalx.harnesses.scores import Scores
from evalx.harnesses.settings import task_settings, text_list
from evalx.model import EnvValue, Metric, Site, TaskSpec
from evalx.results.files import read_result_text
from evalx.results.formats import load_json

RESULTS_FILE = "results.json"
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class CommandHarness:
    evalx_api = (1, 0)

    def command(self, task: TaskSpec, target: Target, site: Site) -> HarnessCommand:
        params = task_settings(task, {"command"}, "the command harness")
        values = _placeholders(task, target, site)
        argv = tuple(expand(item, values) for item in text_list(params, "command"))
        return HarnessCommand(argv, _environment(task, target))

    def parse(self, task: TaskSpec, results: Path) -> tuple[Metric, ...]:  # noqa: ARG002
        return _metrics(load_json(RESULTS_FILE, read_result_text(results, RESULTS_FILE)))


def _placeholders(task: TaskSpec, target: Target, site: Site) -> dict[str, str | None]:
    return {
        "url": target.url,
        "base_url": target.base_url,
        "model": target.model,
        "results": site.results,
        "workdir": site.workdir,
        "dataset_dir": site.dataset_dir,
        "task": task.options.get("task") or task.name,
    }


def _environment(task: TaskSpec, target: Target) -> dict[str, EnvValue]:
    return {task.options.get("api_key_name") or "API_KEY": target.api_key} if target.api_key else {}


def expand(text: str, values: Mapping[str, str | None]) -> str:
    """The text with its placeholders replaced, once. Raises ConfigError for an unknown, empty or unbalanced one."""

    def value(match: re.Match[str]) -> str:
        whole, name = match.group(0), match.group(1)
        if whole in ("{{", "}}"):
            return whole[0]
        if name is None:
            raise ConfigError(f"single {whole!r} in {text!r}", "a literal brace is doubled: {{ or }}")
        if name not in values:
            raise ConfigError(f"unknown placeholder {whole} in {text!r}", "known: " + " ".join(f"{{{known}}}" for known in values))
        found = values[name]
        if found is None:
            raise ConfigError(f"{whole} is used, but the task has no {name}", f"set {name} for the task")
        return found

    return _BRACES.sub(value, text)


def _metrics(document: Any) -> tuple[Metric, ...]:
    if not isinstance(document, dict) or document.get("schema") != 1:
        raise ResultError(f'{RESULTS_FILE} must be an object with "schema": 1')
    entries = document.get("metrics")
    if not isinstance(entries, list):
        raise ResultError(f'{RESULTS_FILE}: "metrics" must be a list')
    scores = Scores(RESULTS_FILE)
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
            raise ResultError(f"{RESULTS_FILE}: metrics[{position}] must be an object with a name")
        if entry.get("n") == 0:
            raise ResultError(f"{RESULTS_FILE}: {entry['name']} was scored over zero samples")
        scores.add(entry["name"], entry.get("value"), entry.get("stderr"), entry.get("n"))
    return scores.finish()
