"""Harness `command`: any program that asks the endpoint and writes a small results file.

Settings (the task's `harness_config`):

    command: [python3, my_eval.py, --url, "{url}", --out, "{results}/results.json"]

Placeholders: `{url}` full URL of the route, `{base_url}` up to `/v1`, `{model}`, `{results}` folder for results, `{workdir}`,
`{dataset_dir}`, `{task}`. A literal brace is doubled. The API key is in the variable named by `api_key_name` (default `API_KEY`).

The program writes `{results}/results.json`:

    {"schema": 1, "metrics": [{"name": "accuracy", "value": 0.75, "stderr": 0.1, "n": 20}]}

`stderr` and `n` may be left out or null. Names are unique, values finite, and `n`, where given, is at least 1. A metric of which less is
better says so with `"higher_is_better": false`. What decides the scores beside the model (a revision of the data, a temperature) may stand
under `"facts"`, an object: runs are compared only if it is equal.

It may also write `{results}/samples.jsonl`, one question a line, from which runs are compared pair by pair:

    {"id": "q1", "prompt": "What is 7 + 7?", "target": "14", "scores": {"accuracy": 1}}

`scores` has the names of metrics; `id`, `prompt` and `target` say whether it is the same question: one of them at least.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalx.errors import ConfigError
from evalx.harnesses.api import Details, HarnessCommand, ResultError, Sample, Target
from evalx.harnesses.samples import digest, gathered, json_lines, number
from evalx.harnesses.scores import Scores
from evalx.harnesses.settings import task_settings, text_list
from evalx.model import EnvValue, Metric, Site, TaskSpec
from evalx.results.files import read_result_text
from evalx.results.formats import load_json

RESULTS_FILE = "results.json"
SAMPLES_FILE = "samples.jsonl"
_ABSOLUTE = re.compile(r"^/(?:[^/]*/)*")
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

    def details(self, task: TaskSpec, results: Path) -> Details:
        document = load_json(RESULTS_FILE, read_result_text(results, RESULTS_FILE))
        _metrics(document)
        lower = frozenset(entry["name"] for entry in document["metrics"] if entry.get("higher_is_better") is False)
        rows = json_lines(results / SAMPLES_FILE) if (results / SAMPLES_FILE).exists() else ()
        return Details(_facts(task, document), lower, *gathered(map(_sample, rows), f"there is no {SAMPLES_FILE}"))


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


def _facts(task: TaskSpec, document: Mapping[str, Any]) -> dict[str, Any]:
    """The command counts, but not where on a machine its files lie; and what the program says of itself."""
    words = (task.options.get("params") or {}).get("command") or []
    told = document.get("facts")
    facts = {f"facts.{key}": value for key, value in told.items()} if isinstance(told, dict) else {}
    return {"command": [_ABSOLUTE.sub("", str(word)) for word in words], **facts}


def _sample(row: Mapping[str, Any]) -> Sample:
    known = {key: row[key] for key in ("id", "prompt", "target") if row.get(key) is not None}
    found = row.get("scores")
    if not known or not isinstance(found, dict):
        raise ResultError(f'{SAMPLES_FILE}: a sample has "scores", an object, and at least one of "id", "prompt" and "target"')
    scores = {str(name): score for name, value in found.items() if (score := number(value)) is not None}
    question, target, prompt = (digest(known[key]) if key in known else "" for key in ("id", "target", "prompt"))
    return Sample(question, target, prompt, scores)


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
