"""Harness `lm_eval`: EleutherAI's lm-evaluation-harness (0.4.10 or newer) against an OpenAI-compatible endpoint.

Settings (`harness_config`), all optional: the keys in `RUN_SETTINGS`, which mean what they mean in `lm_eval run --help`;
`model_args`, a mapping of further arguments of its API model; those in `MODEL_SETTINGS` may also stand on their own.

All of it travels in a configuration file, so that commas and equal signs in values mean nothing. lm-evaluation-harness resolves
`data_files` of its task files, and data sets kept in folders, relative to the working directory: a task with a `dataset_dir` runs
there, and relative paths in the settings start there.

It writes no result file when it is stopped, and exits with 0 when it could not save one: no file, no result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from evalx.errors import ConfigError
from evalx.harnesses.api import Details, HarnessCommand, ResultError, Target
from evalx.harnesses.lm_details import lm_details
from evalx.harnesses.scores import Scores
from evalx.harnesses.settings import counted, task_settings
from evalx.model import Metric, Site, TaskSpec
from evalx.results.files import read_result_text, regular_files
from evalx.results.formats import load_json

CONFIG_FILE = "lm_eval.yml"
MODELS = {"chat": "local-chat-completions", "completions": "local-completions", "completions_logprob": "local-completions"}
MODEL_SETTINGS = ("num_concurrent", "max_retries", "timeout", "tokenizer", "tokenizer_backend", "tokenized_requests", "max_length")
RUN_SETTINGS = (
    "apply_chat_template",
    "batch_size",
    "cache_requests",
    "confirm_run_unsafe_code",
    "fewshot_as_multiturn",
    "gen_kwargs",
    "include_path",
    "limit",
    "metadata",
    "num_fewshot",
    "samples",
    "seed",
    "system_instruction",
    "trust_remote_code",
    "use_cache",
)
_REQUESTS = re.compile(r"Requesting API:.*?(\d+)/(\d+) \[")
"""A state of the progress bar of its requests; for multiple choice there are several requests a sample."""
_IN_FOLDER = 'cd -- "$1" && shift && exec "$@"'


class LmEvalHarness:
    evalx_api = (1, 0)
    programs = ("lm_eval",)

    def packages(self, task: TaskSpec) -> tuple[str, ...]:  # noqa: ARG002 -- the same for every task
        """As pip knows the harness, with what it needs to ask an endpoint."""
        return ("lm-eval[api]",)

    def command(self, task: TaskSpec, target: Target, site: Site) -> HarnessCommand:
        params = task_settings(task, {*RUN_SETTINGS, *MODEL_SETTINGS, "model_args"}, "the lm_eval harness")
        _check_paths(params, site)
        run = ("lm_eval", "run", "--config", f"{site.workdir}/{CONFIG_FILE}")
        argv = ("sh", "-c", _IN_FOLDER, "lm_eval", site.dataset_dir, *run) if site.dataset_dir else run
        return HarnessCommand(argv, {"OPENAI_API_KEY": target.api_key or "none"}, {CONFIG_FILE: _yaml(_config(task, params, target, site))})

    def progress(self, log: Sequence[str]) -> tuple[int, int] | None:
        return counted(log, _REQUESTS)

    def parse(self, task: TaskSpec, results: Path) -> tuple[Metric, ...]:  # noqa: ARG002
        path = _newest(results)
        return _metrics(path.name, load_json(path.name, read_result_text(results, str(path))))

    def details(self, task: TaskSpec, results: Path) -> Details:  # noqa: ARG002
        path = _newest(results)
        return lm_details(load_json(path.name, read_result_text(results, str(path))), results, _metric_name)


def _config(task: TaskSpec, params: Mapping[str, Any], target: Target, site: Site) -> dict[str, Any]:
    if target.endpoint_type not in MODELS:
        raise ConfigError(f"lm_eval cannot ask endpoints of type {target.endpoint_type!r}", f"one of: {', '.join(MODELS)}")
    own = {"model": target.model, "base_url": target.url}
    if not isinstance(params.get("model_args", {}), Mapping):
        raise ConfigError("model_args must be a mapping", "model_args: {num_concurrent: 4}")
    given = {**params.get("model_args", {}), **{key: params[key] for key in MODEL_SETTINGS if key in params}}
    if clash := own.keys() & given.keys():
        raise ConfigError(f"model_args: {', '.join(sorted(clash))} is set by evalx", "use target.api_endpoint")
    config = {key: params[key] for key in RUN_SETTINGS if key in params}
    if target.endpoint_type == "chat":
        config.setdefault("apply_chat_template", True)
    names = [name for name in str(task.options.get("task") or task.name).split(",") if name]
    return {
        "model": MODELS[target.endpoint_type],
        "model_args": {**given, **own},
        "tasks": names,
        **config,
        "output_path": site.results,
        "log_samples": True,
    }


def _check_paths(params: Mapping[str, Any], site: Site) -> None:
    for key in ("include_path", "use_cache"):
        value = params.get(key)
        if isinstance(value, str) and not PurePath(value).is_absolute() and not site.dataset_dir:
            raise ConfigError(
                f"{key}: {value!r} is relative, but the task has no dataset_dir",
                f"an absolute {key}, or the task's dataset_dir, where relative paths start",
            )


def _yaml(config: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def _newest(results: Path) -> PurePath:
    """The last `results_<timestamp>.json`, relative to the folder of results; the timestamps sort as text."""
    found = [path for path in regular_files(results) if path.name.startswith("results_") and path.suffix == ".json"]
    if not found:
        raise ResultError("no result file: lm_eval wrote no results_*.json")
    return max(found, key=lambda path: path.name).relative_to(results)


def _metrics(source: str, document: Any) -> tuple[Metric, ...]:
    entries = _mapping(source, document, "results")
    counts, members = _mapping(source, document, "n-samples"), _mapping(source, document, "group_subtasks")
    groups = _mapping(source, document, "groups").keys() | {name for name, subtasks in members.items() if subtasks}
    scores, tasks = Scores(source), [name for name in entries if name not in groups]
    for name, entry in entries.items():
        prefix = f"group:{name}/" if name in groups else f"{name}/" if len(tasks) > 1 else ""
        _add(scores, entry, prefix, _samples(name, counts, members))
    return scores.finish()


def _add(scores: Scores, entry: Any, prefix: str, n: int | None) -> None:
    if not isinstance(entry, dict):
        raise ResultError(f"{scores.source}: {prefix or 'a result'} is not an object")
    for key, value in entry.items():
        metric, comma, filtered = key.partition(",")
        # Entries without a comma (alias, sample_len) are no scores; a group without an aggregate has " " for a value.
        if comma and not metric.endswith("_stderr") and value != " ":
            scores.add(prefix + _metric_name(metric, filtered), value, entry.get(f"{metric}_stderr,{filtered}"), n)


def _metric_name(metric: str, filtered: str) -> str:
    return metric if filtered in ("none", metric) else f"{metric}/{filtered}"


def _samples(name: str, counts: Mapping[str, Any], members: Mapping[str, Any]) -> int | None:
    """Samples behind a task, or behind all tasks of a group, each counted once; None if the file does not say."""
    waiting, total = [name], 0
    seen: set[str] = set()
    while waiting:
        one = waiting.pop()
        entry, subtasks = counts.get(one), members.get(one)
        if one in seen:
            continue
        seen.add(one)
        if isinstance(entry, dict) and isinstance(entry.get("effective"), int):
            total += entry["effective"]
        elif isinstance(subtasks, list) and subtasks:
            waiting += map(str, subtasks)
        else:
            return None
    return total


def _mapping(source: str, document: Any, key: str) -> dict[str, Any]:
    value = document.get(key, {}) if isinstance(document, dict) else None
    if not isinstance(value, dict):
        raise ResultError(f"{source}: {key!r} is not an object")
    return value
