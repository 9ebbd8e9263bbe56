"""What NeMo Evaluator and the harnesses in its containers leave beside their scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalx.harnesses.api import Details
from evalx.harnesses.lm_details import lm_details
from evalx.harnesses.samples import byob_samples, check_size, gathered, lower_is_better
from evalx.results.files import read_result_text, regular_files
from evalx.results.formats import load_json

PREDICTIONS_FILE = "byob_predictions.jsonl"

_HOW_IT_RUNS = frozenset({"parallelism", "max_retries", "request_timeout", "tokenizer", "url", "base_url", "api_key", "api_key_name"})
"""Parameters that change how long it takes, or that belong to the model, but not what is measured."""

_MESSAGE_CHANGERS = frozenset({"system_message", "payload_modifier", "reasoning", "omni_info"})
"""Interceptors of its adapter that change what the model is asked or what is read of its answer; the others log, cache and count."""


def nemo_details(document: Any, names: Iterable[str], results: Path) -> Details:
    """From the content of `results.yml`, the metrics' names, and the folder of results. Raises ResultError for what is damaged."""
    check_size("results.yml", document)
    facts = dict(_facts(document))
    lower = lower_is_better(names)
    predictions = sorted(path for path in regular_files(results) if path.name == PREDICTIONS_FILE)
    if predictions:
        tasks = _mapping(_mapping(document, "results"), "tasks")
        samples, missing = gathered(byob_samples(predictions, prefixed=len(tasks) > 1), f"{PREDICTIONS_FILE} is empty")
        return Details(facts, lower, samples, missing)
    inner = _newest_lm_eval(results)
    if inner is None:
        return Details(facts, lower, missing="its harness keeps no scores of single samples that evalx can read")
    text = read_result_text(results, str(inner))
    found = lm_details(load_json(inner.name, text), results, _metric_name, own_groups=True)
    return Details({**found.facts, **facts}, lower | found.lower_is_better, found.samples, found.missing)


def _facts(document: Any) -> Iterator[tuple[str, Any]]:
    config = _mapping(document, "config")
    yield "config.type", config.get("type")
    yield from _flat(_mapping(config, "params"), "params")
    adapter = _mapping(_mapping(_mapping(document, "target"), "api_endpoint"), "adapter_config")
    interceptors = adapter.get("interceptors")
    for entry in interceptors if isinstance(interceptors, list) else ():
        if isinstance(entry, dict) and entry.get("enabled", True) and str(entry.get("name")) in _MESSAGE_CHANGERS:
            yield from _flat(_mapping(entry, "config"), f"adapter.{entry['name']}")


def _flat(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if key in _HOW_IT_RUNS or str(key).endswith("_dir"):
            continue
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


def _newest_lm_eval(results: Path) -> Path | None:
    found = [path for path in regular_files(results) if path.name.startswith("results_") and path.suffix == ".json"]
    return max(found, key=lambda path: path.name).relative_to(results) if found else None


def _metric_name(metric: str, filtered: str) -> str:
    """As its container of lm-evaluation-harness writes them into `results.yml`."""
    return metric if filtered == "none" else f"{metric}__{filtered}"


def _mapping(entry: Any, key: str) -> dict[str, Any]:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, dict) else {}
