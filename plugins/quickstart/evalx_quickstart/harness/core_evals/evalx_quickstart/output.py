"""NeMo Evaluator calls `parse_output` when the runner has ended."""

import json
from pathlib import Path

from nemo_evaluator.api.api_dataclasses import EvaluationResult


def parse_output(output_dir: str) -> EvaluationResult:
    """The scores the runner wrote below the output folder. Raises RuntimeError if it wrote none."""
    found = sorted(Path(output_dir).glob("*/byob_results.json"))
    scores = json.loads(found[0].read_text(encoding="utf-8")) if found else None
    if not scores:
        raise RuntimeError(f"no question was answered: there are no scores in {output_dir}")
    return EvaluationResult.model_validate(scores)
