"""`--to huggingface`: scores as the Hugging Face Hub shows them on a model's page and on a benchmark's leaderboard.

The format is that of `.eval_results/*.yaml` in a model repository (https://huggingface.co/docs/hub/eval-results, specification
`eval_results.yaml` of huggingface/hub-docs). Only the user knows which benchmark of the Hub a task is, so the options say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from attrs import frozen

from evalx.config import setting
from evalx.config.structure import suggestion
from evalx.errors import ConfigError
from evalx.exporters import Destination, RunAccount
from evalx.exporters.facts import iso
from evalx.model import Metric, Outcome, TaskResult


@frozen(kw_only=True)
class Benchmark:
    """What a task of the run is on the Hub."""

    dataset: str = setting(help="Id of the benchmark's dataset, such as `Idavidrein/gpqa`; it must be registered as a benchmark.")
    task_id: str = setting(help="Id of the task in the dataset's `eval.yaml`, such as `gpqa_diamond`.")
    metric: str | None = setting(None, help="Which score of the task; needed where it has more than one.")
    scale: float = setting(1.0, help="What the score is multiplied by: 100 where the leaderboard counts in percent.")
    revision: str | None = setting(None, help="Commit of the dataset that was used.")
    notes: str | None = setting(None, help="How it was set up: `no-tools`, say.")


def _check_source(options: HuggingFaceOptions) -> None:
    if options.source_url is None and (options.source_name or options.source_user):
        raise ConfigError(
            "source_name and source_user mean nothing without source_url", "give source_url too, or leave them out", where="source_url"
        )


@frozen(kw_only=True)
class HuggingFaceOptions:
    """Which tasks go to which benchmarks."""

    benchmarks: Mapping[str, Benchmark] = setting(help="Name of a task of the run → the benchmark that it is on the Hub.")
    source_url: str | None = setting(None, help="Where the run can be looked into.")
    source_name: str | None = setting(None, help="What that place is called.")
    source_user: str | None = setting(None, help="The user or organisation of the Hub that it belongs to.")

    def __attrs_post_init__(self) -> None:
        _check_source(self)


class HuggingFaceExporter:
    """A file for the folder `.eval_results/` of a model repository on the Hugging Face Hub, with one score per benchmark."""

    evalx_api = (1, 0)
    Options = HuggingFaceOptions
    file_name = "evalx.yaml"

    def export(self, run: RunAccount, destination: Destination, options: HuggingFaceOptions) -> None:
        """Write the file. Raises ConfigError for a task or metric that the run does not have."""
        ended = {spec.name: result for spec, result in run.tasks()}
        entries = []
        for name, benchmark in options.benchmarks.items():
            if name not in ended:
                hint = suggestion(name, ended) or f"it has: {', '.join(ended) or 'none'}"
                raise ConfigError(f"run {run.run_id} has no task '{name}'", hint, where=f"benchmarks.{name}")
            result = ended[name]
            if result is not None and result.outcome is Outcome.PASSED:
                entries.append(_entry(benchmark, result, _metric(name, benchmark, result), options))
        destination.write(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True))


def _metric(task: str, benchmark: Benchmark, result: TaskResult) -> Metric:
    found = [metric for metric in result.metrics if benchmark.metric in (None, metric.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(metric.name for metric in result.metrics)
    what = f"has no score '{benchmark.metric}'" if benchmark.metric else "has several scores"
    raise ConfigError(f"task '{task}' {what}", f"benchmarks.{task}.metric=… is one of: {names}", where=f"benchmarks.{task}.metric")


def _entry(benchmark: Benchmark, result: TaskResult, metric: Metric, options: HuggingFaceOptions) -> dict[str, Any]:
    dataset = {"id": benchmark.dataset, "task_id": benchmark.task_id, "revision": benchmark.revision}
    source = {"url": options.source_url, "name": options.source_name, "user": options.source_user}
    entry = {
        "dataset": _given(dataset),
        "value": metric.value if benchmark.scale == 1 else metric.value * benchmark.scale,
        "date": iso(result.ended),
        "source": _given(source),
        "notes": benchmark.notes,
    }
    return _given(entry)


def _given(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value not in (None, {})}
