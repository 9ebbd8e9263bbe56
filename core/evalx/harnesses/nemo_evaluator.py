"""Harness `nemo_evaluator`: NVIDIA NeMo Evaluator's `run_eval`, in a catalogue container or from PATH.

Settings (`nemo_evaluator_config`): a NeMo Evaluator run configuration (`config.params...`, `target.api_endpoint.adapter_config...`).
What evalx sets itself (type, output folder, URL, model) is refused there.

Three defaults of NeMo Evaluator are replaced, unless the user's variables say otherwise. Two runs that start together take the same
adapter port and report each other's scores, so each task has `ADAPTER_PORT` of its own; its adapter starts 2,048 threads; it sends
telemetry. It also hands values of its configuration to a shell and a template engine: see `shell_settings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalx.errors import ConfigError
from evalx.harnesses.api import Details, HarnessCommand, ResultError, Target
from evalx.harnesses.nemo_details import nemo_details
from evalx.harnesses.scores import Scores
from evalx.harnesses.settings import counted, get_dotted, set_dotted, task_settings
from evalx.model import EnvValue, Metric, Site, TaskSpec
from evalx.results.files import read_result_text
from evalx.results.formats import load_yaml

RUN_CONFIG = "run_config.yml"
RESULTS_FILE = "results.yml"
OWN_KEYS = (
    "config.type",
    "config.output_dir",
    "target.api_endpoint.url",
    "target.api_endpoint.model_id",
    "target.api_endpoint.type",
    "target.api_endpoint.api_key_name",
)
_EITHER_NAME = 'if command -v nemo-evaluator >/dev/null 2>&1; then exec nemo-evaluator "$@"; else exec eval-factory "$@"; fi'
_ACTIVE = re.compile(r"[`$;|&<>\\\n\r]|\{\{|\{%|\{#")
_SAMPLES = re.compile(r"(?:\bprocessed=|Requesting API:.*?)(\d+)(?: total=|/)(\d+)")
"""What its own runner logs, and the progress bar of lm-evaluation-harness inside it; other harnesses of its containers tell nothing."""
MAX_GROUPS = 10_000

RUNNER = "nemo-evaluator"
SUITE_PACKAGES = {
    "lm-evaluation-harness": "nvidia-lm-eval",
    "simple_evals": "nvidia-simple-evals",
    "mtbench": "nvidia-mtbench-evaluator",
    "ifbench": "nvidia-ifbench",
    "bigcode-evaluation-harness": "nvidia-bigcode-eval",
    "scicode": "nvidia-scicode",
    "hle": "nvidia-hle",
    "bfcl": "nvidia-bfcl",
    "profbench": "nvidia-profbench",
    "vlmevalkit": "nvidia-vlmeval",
    "garak": "nvidia-eval-factory-garak",
    "safety_eval": "nvidia-safety-harness",
    "tooltalk": "nvidia-tooltalk",
    "genai_perf_eval": "nvidia-genai-perf-eval",
    "AA-LCR": "nvidia-aa-lcr",
}
"""Packages that NVIDIA publishes on PyPI with a suite of the catalogue."""


class NemoEvaluatorHarness:
    evalx_api = (1, 0)
    programs = ("nemo-evaluator", "eval-factory")

    def packages(self, task: TaskSpec) -> tuple[str, ...]:
        """The runner and the package of the task's suite, by their names on PyPI; none for a suite whose package is not known."""
        suite = task.options.get("suite")
        package = SUITE_PACKAGES.get(str(suite))
        return (RUNNER, package) if package else () if suite else (RUNNER,)

    def command(self, task: TaskSpec, target: Target, site: Site) -> HarnessCommand:
        config = run_config(task, target, site)
        argv = ("sh", "-c", _EITHER_NAME, "nemo-evaluator", "run_eval", "--run_config", f"{site.workdir}/{RUN_CONFIG}")
        return HarnessCommand(argv, _environment(task, target, site), {RUN_CONFIG: _yaml(config)}, tuple(_active_settings(config)))

    def progress(self, log: Sequence[str]) -> tuple[int, int] | None:
        return counted(log, _SAMPLES)

    def parse(self, task: TaskSpec, results: Path) -> tuple[Metric, ...]:  # noqa: ARG002
        document = load_yaml(RESULTS_FILE, read_result_text(results, RESULTS_FILE))
        found = document.get("results") if isinstance(document, dict) else None
        if not isinstance(found, dict):
            raise ResultError(f"{RESULTS_FILE} has no `results`")
        if "target" not in document:
            raise ResultError(f"{RESULTS_FILE} is cut off: it has no `target`, which is written after the results")
        scores = Scores(RESULTS_FILE)
        for path, group in _groups(found):
            _add_metrics(scores, group, f"group:{path}/")
        tasks = _mapping(found, "tasks")
        for name, entry in tasks.items():
            _add_metrics(scores, entry, f"{name}/" if len(tasks) > 1 else "")
        return scores.finish()

    def details(self, task: TaskSpec, results: Path) -> Details:
        document = load_yaml(RESULTS_FILE, read_result_text(results, RESULTS_FILE))
        return nemo_details(document, [metric.name for metric in self.parse(task, results)], results)


def run_config(task: TaskSpec, target: Target, site: Site) -> dict[str, Any]:
    """The run configuration: the user's params, overridden by the overrides, completed by what evalx knows. Raises ConfigError."""
    config = task_settings(task, {"config", "target", "metadata"}, "nemo_evaluator", "parameters of a benchmark go under config.params")
    for key in OWN_KEYS:
        if get_dotted(config, key) is not None:
            raise ConfigError(f"{key} is set by evalx and cannot be set in nemo_evaluator_config or overrides", _where_instead(key))
    for key, value in _own_values(task, target, site).items():
        set_dotted(config, key, value)
    return config


def _own_values(task: TaskSpec, target: Target, site: Site) -> dict[str, Any]:
    name, suite = task.options.get("task") or task.name, task.options.get("suite")
    own = {
        "config.type": f"{suite}.{name}" if suite else name,
        # Harness templates put this into a shell line unquoted; relative is right too, as the command runs in the working directory.
        "config.output_dir": site.results if re.fullmatch(r"[\w./+@-]+", site.results, re.ASCII) else "results",
        "target.api_endpoint.url": target.url,
        "target.api_endpoint.model_id": target.model,
        "target.api_endpoint.type": target.endpoint_type,
    }
    return own | ({"target.api_endpoint.api_key_name": _key_name(task)} if target.api_key else {})


def _where_instead(key: str) -> str:
    places = {"config.type": "the task's name", "target.api_endpoint.type": "the task's endpoint_type", "config.output_dir": "output_dir"}
    return f"use {places.get(key, 'target.api_endpoint')}"


def _key_name(task: TaskSpec) -> str:
    return task.options.get("api_key_name") or "API_KEY"


def _environment(task: TaskSpec, target: Target, site: Site) -> dict[str, EnvValue]:
    """NeMo's defaults as they should have been. Some suites demand an API key even of endpoints that want none."""
    return {
        "ADAPTER_PORT": str(site.adapter_port),
        "ADAPTER_SERVER_THREADS": "32",
        "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0",
        "NEMO_EVALUATOR_SHUTDOWN_TIMEOUT_SECONDS": "10",
        _key_name(task): target.api_key or "none",
    }


def _active_settings(config: Mapping[str, Any]) -> Iterator[str]:
    """The keys below `config` and `target.api_endpoint` whose text a shell or template would act on."""
    endpoint = {key: value for key, value in config["target"]["api_endpoint"].items() if key != "adapter_config"}
    for key, value in _texts({"config": config["config"], "target": {"api_endpoint": endpoint}}):
        if _ACTIVE.search(value) or _ACTIVE.search(key):
            yield key


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _texts(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for position, child in enumerate(value):
            yield from _texts(child, f"{path}[{position}]")


def _yaml(config: Mapping[str, Any]) -> str:
    # Not JSON: YAML 1.1 would read JSON's 1e-07 as text.
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def _mapping(entry: Any, key: str) -> dict[Any, Any]:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, dict | None):
        raise ResultError(f"{RESULTS_FILE}: {key} is not a mapping")
    return value or {}


def _groups(results: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every group with its path, also groups in groups; the bound is for a file whose groups contain themselves."""
    waiting = [(str(name), group) for name, group in _mapping(results, "groups").items()]
    for _ in range(MAX_GROUPS):
        if not waiting:
            return
        path, group = waiting.pop(0)
        yield path, group
        waiting += [(f"{path}/{name}", child) for name, child in _mapping(group, "groups").items()]
    raise ResultError(f"{RESULTS_FILE} has more than {MAX_GROUPS} groups")


def _add_metrics(scores: Scores, entry: Any, prefix: str) -> None:
    for metric, found in _mapping(entry, "metrics").items():
        by_name = _mapping(found, "scores")
        for score, value in by_name.items():
            redundant = score == metric or (len(by_name) == 1 and score in ("value", "score"))
            _add(scores, f"{prefix}{metric}" if redundant else f"{prefix}{metric}/{score}", value)


def _add(scores: Scores, name: str, score: Any) -> None:
    if not isinstance(score, dict):
        raise ResultError(f"{RESULTS_FILE}: {name} is not a score with a value")
    stats = _mapping(score, "stats")
    scores.add(name, score.get("value"), stats.get("stderr"), stats.get("count"))
