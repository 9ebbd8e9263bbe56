"""What lm-evaluation-harness leaves beside its scores, when it runs on its own and inside a container of NeMo Evaluator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalx.harnesses.api import Details, ResultError, Sample
from evalx.harnesses.samples import gathered, json_lines, number
from evalx.results.files import regular_files

Naming = Callable[[str, str], str]
"""From lm-eval's name of a metric and of the filter before it to the name that the adapter gives the metric."""

_SETTINGS = ("limit", "gen_kwargs", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed")
_ABOUT_THE_MODEL = frozenset(
    {"model", "base_url", "num_concurrent", "max_retries", "timeout", "tokenizer", "tokenizer_backend", "tokenized_requests", "stream"}
)
_ROW = frozenset({"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"})
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_STAMP = re.compile(r"_\d{4}-\d\d-\d\dT[\d.-]+$")


def lm_details(document: Any, results: Path, naming: Naming, *, own_groups: bool = False) -> Details:
    """From the content of `results_*.json` and the files of samples in the folder of results. Raises ResultError for what is damaged.

    own_groups: where there are no groups, each task counts as a group of itself as well.
    """
    if not isinstance(document, dict):
        raise ResultError("what lm_eval left is not an object")
    leaves = _leaves(document)
    prefixes = _prefixes(document, leaves)
    if own_groups and not _mapping(document, "groups"):
        prefixes = {task: [*found, f"group:{task}/"] for task, found in prefixes.items()}
    samples, missing = gathered(_samples(results, prefixes, naming), "lm_eval kept no samples_*.jsonl")
    lower = {
        prefix + naming(metric, filtered)
        for task, directions in _mapping(document, "higher_is_better").items()
        if isinstance(directions, dict)
        for metric, higher in directions.items()
        if higher is False
        for filtered in _filters(document, task, metric)
        for prefix in prefixes.get(task, [f"group:{task}/"])
    }
    return Details(_facts(document), frozenset(lower), samples, missing)


def _facts(document: dict[str, Any]) -> dict[str, Any]:
    config = _mapping(document, "config")
    found: dict[str, Any] = {f"config.{key}": config.get(key) for key in _SETTINGS}
    arguments = config.get("model_args")
    if isinstance(arguments, dict):
        found |= {f"model_args.{key}": value for key, value in arguments.items() if key not in _ABOUT_THE_MODEL}
    for key in ("lm_eval_version", "system_instruction_sha", "fewshot_as_multiturn"):
        found[key] = document.get(key)
    for key in ("versions", "n-shot"):
        found |= {f"{key}.{task}": value for task, value in _mapping(document, key).items()}
    for task, settings in _mapping(document, "configs").items():
        if isinstance(settings, dict):
            found |= {f"{task}.{key}": _steady(value) for key, value in settings.items() if key != "metadata"}
    return found


def _steady(value: Any) -> Any:
    """A function without source is written with its address, which is another one each time."""
    return _ADDRESS.sub("", value) if isinstance(value, str) else value


def _leaves(document: Mapping[str, Any]) -> list[str]:
    groups = _mapping(document, "groups").keys() | {name for name, members in _mapping(document, "group_subtasks").items() if members}
    return [name for name in _mapping(document, "results") if name not in groups]


def _prefixes(document: Mapping[str, Any], leaves: list[str]) -> dict[str, list[str]]:
    """Task to the beginnings of the names of all metrics that its samples are part of: its own, and its groups'."""
    prefixes = {task: [f"{task}/" if len(leaves) > 1 else ""] for task in leaves}
    members = _mapping(document, "group_subtasks")
    for group in members:
        waiting, seen = [group], {group}
        while waiting:
            below = members.get(waiting.pop())
            new = {str(name) for name in below if str(name) not in seen} if isinstance(below, list) else set()
            seen |= new
            waiting += new
        for task in seen & prefixes.keys() - {group}:
            prefixes[task].append(f"group:{group}/")
    return prefixes


def _filters(document: Mapping[str, Any], task: str, metric: str) -> Iterator[str]:
    for key in _mapping(_mapping(document, "results"), task):
        name, comma, filtered = key.partition(",")
        if comma and name == metric:
            yield filtered


def _samples(results: Path, prefixes: Mapping[str, list[str]], naming: Naming) -> Iterator[Sample]:
    for task, path in _newest_files(results).items():
        rows: dict[Any, Sample] = {}
        for row in json_lines(path):
            sample = _sample(row, task, prefixes.get(task, [""]), naming)
            # One row for each filter: together they are one sample.
            before = rows.get(row.get("doc_id"))
            rows[row.get("doc_id")] = sample if before is None else _joined(before, sample)
        yield from rows.values()


def _newest_files(results: Path) -> dict[str, Path]:
    """Task to the last `samples_<task>_<timestamp>.jsonl`; the timestamps sort as text."""
    found = [path for path in regular_files(results) if path.name.startswith("samples_") and path.suffix == ".jsonl"]
    return {_STAMP.sub("", path.stem.removeprefix("samples_")): path for path in sorted(found, key=lambda path: path.name)}


def _sample(row: Mapping[str, Any], task: str, prefixes: list[str], naming: Naming) -> Sample:
    filtered = str(row.get("filter") or "none")
    scores: dict[str, float] = {}
    for metric, value in row.items():
        if metric in _ROW or metric.endswith("_hash") or (score := number(value)) is None:
            continue
        scores |= {prefix + naming(metric, filtered): score for prefix in prefixes}
    return Sample(f"{task}:{row.get('doc_hash', '')}", str(row.get("target_hash", "")), str(row.get("prompt_hash", "")), scores)


def _joined(one: Sample, other: Sample) -> Sample:
    return Sample(one.question, one.target, one.prompt, {**other.scores, **one.scores})


def _mapping(document: Any, key: str) -> dict[str, Any]:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}
