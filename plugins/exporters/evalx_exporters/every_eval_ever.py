"""`--to every_eval_ever`: one record of the shared schema of the EvalEval coalition, version 0.3.0.

The schema is `eval.schema.json` of the package every-eval-ever (https://github.com/evaleval/every_eval_ever). What evalx cannot know, who
evaluates and what they have to do with the model, the options say.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from attrs import frozen

from evalx.config import setting
from evalx.exporters import Destination, RunAccount
from evalx.exporters.facts import counted
from evalx.model import Metric, TaskSpec

SCHEMA_VERSION = "0.3.0"

LOWER_IS_BETTER = frozenset(
    {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter", "wer", "cer", "loss"}
)
"""Names that are known to mean so; see the option of that name for others."""


@frozen(kw_only=True)
class EveryEvalEverOptions:
    """What the record says of those who evaluate, and of the model."""

    organization: str = setting(help="Who evaluates, and publishes this record.")
    relationship: Literal["first_party", "third_party", "collaborative", "other"] = setting(
        "other", help="What they have to do with the model: `first_party` if it is their own."
    )
    model_id: str | None = setting(None, help="The model's id on the Hugging Face Hub; without it, the name under which it is served.")
    model_availability: Literal["open_weights", "closed_weights", "unknown"] = setting("unknown", help="Whether its weights are public.")
    lower_is_better: tuple[str, ...] = setting((), help="Names of metrics of which less is better, beside perplexities and error rates.")


class EveryEvalEverExporter:
    """A record for Every Eval Ever, the shared schema and collection of evaluation results: each score with who, what and how."""

    evalx_api = (1, 0)
    Options = EveryEvalEverOptions
    file_name = "every_eval_ever.json"

    def export(self, run: RunAccount, destination: Destination, options: EveryEvalEverOptions) -> None:
        """Write the record."""
        destination.write(json.dumps(_record(run, options), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _record(run: RunAccount, options: EveryEvalEverOptions) -> dict[str, Any]:
    name = next((endpoint.model for endpoint in run.plan.endpoints), "unknown")
    model = options.model_id or name
    passed, planned = counted(run)
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"evalx-{run.run_id}/{model}/{_epoch(run.updated)}",
        "evaluation_timestamp": _epoch(run.plan.created),
        "retrieved_timestamp": _epoch(run.updated),
        "source_metadata": {
            "source_name": "evalx",
            "source_type": "evaluation_run",
            "source_organization_name": options.organization,
            "evaluator_relationship": options.relationship,
            "additional_details": {"run_id": run.run_id, "condition": run.condition, "tasks_scored": f"{passed} of {planned}"},
        },
        "eval_library": _library(run),
        "model_info": _model(run, name, model, options),
        "evaluation_results": [_result(run, spec, metric, options) for spec, metric in run.scores()],
    }


def _library(run: RunAccount) -> dict[str, Any]:
    version = str(run.manifest.get("evalx") or "unknown")
    harnesses = sorted({task.harness for task in run.plan.tasks})
    if len(harnesses) == 1:
        return {"name": harnesses[0], "version": "unknown", "additional_details": {"launcher": "evalx", "launcher_version": version}}
    return {"name": "evalx", "version": version, "additional_details": {"harnesses": ", ".join(harnesses)}}


def _model(run: RunAccount, name: str, model: str, options: EveryEvalEverOptions) -> dict[str, Any]:
    variants = {endpoint.variant for endpoint in run.plan.endpoints}
    deployed = "self_deployed" if variants and "none" not in variants else "unknown"
    info: dict[str, Any] = {
        "name": name,
        "id": model,
        "additional_details": {"deployment_type": deployed, "model_availability": options.model_availability},
    }
    if len(variants) == 1 and (engine := variants.pop()) in ("vllm", "sglang", "nim"):
        info["inference_engine"] = {"name": engine}
    return info


def _result(run: RunAccount, spec: TaskSpec, metric: Metric, options: EveryEvalEverOptions) -> dict[str, Any]:
    asked = spec.options
    details = {key: asked.get(key) for key in ("suite", "container", "endpoint_type")}
    return {
        "evaluation_result_id": f"{run.run_id}/{spec.name}/{metric.name}",
        "evaluation_name": spec.name,
        "evaluation_timestamp": _epoch(next((result.ended for one, result in run.tasks() if one is spec and result), None)),
        "source_data": {
            "dataset_name": str(asked.get("task") or spec.name),
            "source_type": "other",
            "additional_details": {key: str(value) for key, value in {**details, "harness": spec.harness}.items() if value},
        },
        "metric_config": {"metric_name": metric.name, "lower_is_better": _lower_is_better(metric.name, options)},
        "score_details": _score(metric),
        "generation_config": {"additional_details": _parameters(spec)},
    }


def _lower_is_better(metric: str, options: EveryEvalEverOptions) -> bool:
    """Harnesses put words around a metric's name: `word_perplexity,none`, `group:wer/mean`."""
    parts = metric.replace(",", "/").replace(":", "/").split("/")
    return metric in options.lower_is_better or any(part in LOWER_IS_BETTER or part in options.lower_is_better for part in parts)


def _score(metric: Metric) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {}
    if metric.stderr is not None:
        uncertainty["standard_error"] = {"value": metric.stderr}
    if metric.n is not None:
        uncertainty["num_samples"] = metric.n
    return {"score": metric.value, **({"uncertainty": uncertainty} if uncertainty else {})}


def _parameters(spec: TaskSpec) -> dict[str, str]:
    """The harness's settings as they were given; values in this schema are texts."""
    given = {**(spec.options.get("params") or {}), **(spec.options.get("overrides") or {})}
    return {str(key): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in given.items()}


def _epoch(seconds: float | None) -> str:
    return "unknown" if seconds is None else str(round(seconds, 3))
