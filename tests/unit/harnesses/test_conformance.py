"""The adapters that come with evalx pass the suite that every adapter passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evalx.model import Metric
from evalx.testing import HarnessConformance

NEMO = """\
command: 'python3 -m nemo_evaluator.contrib.byob.runner'
config: {output_dir: out, params: {parallelism: 4, temperature: 0.0}, type: mini.mini_qa}
results:
  groups: {}
  tasks:
    mini_qa:
      metrics:
        pass@1:
          scores:
            contains:
              stats: {count: 20, mean: 0.7, stddev: 0.4583, stderr: 0.1025}
              value: 0.7
            correct:
              stats: {count: 20, mean: 0.65, stddev: 0.477, stderr: 0.1067}
              value: 0.65
target: {api_endpoint: {model_id: m, type: chat}}
"""
LM_EVAL = {
    "results": {"mini": {"alias": "mini", "exact_match,strict": 0.7, "exact_match_stderr,strict": 0.1051}},
    "group_subtasks": {},
    "n-samples": {"mini": {"original": 20, "effective": 20}},
    "lm_eval_version": "0.4.13",
}


class TestCommand(HarnessConformance):
    plugin = "command"
    runnable = True

    def params(self) -> dict[str, Any]:
        write = "import pathlib, sys; path = pathlib.Path(sys.argv[1]); path.mkdir(); (path / 'results.json').write_text(sys.argv[2])"
        document = json.dumps(self.document()).replace("{", "{{").replace("}", "}}")
        return {"command": ["python3", "-c", write, "{results}", document, "{url}", "{model}"]}

    def document(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "metrics": [{"name": "accuracy", "value": 0.75, "stderr": 0.1, "n": 20}, {"name": "f1", "value": 0.5, "n": 20}],
        }

    def sample(self, results: Path) -> None:
        (results / "results.json").write_text(json.dumps(self.document()))

    def scores(self) -> tuple[Metric, ...]:
        return (Metric("accuracy", 0.75, 0.1, 20), Metric("f1", 0.5, None, 20))


class TestLmEval(HarnessConformance):
    plugin = "lm_eval"
    sdk = ("yaml", "lm_eval")

    def params(self) -> dict[str, Any]:
        return {"limit": 20, "system_instruction": "Be brief."}

    def sample(self, results: Path) -> None:
        (results / "m").mkdir()
        (results / "m" / "results_2026-01-01T00-00-00.json").write_text(json.dumps(LM_EVAL, indent=2))

    def scores(self) -> tuple[Metric, ...]:
        return (Metric("exact_match/strict", 0.7, 0.1051, 20),)

    def log(self) -> tuple[list[str], tuple[int, int]]:
        return ["Requesting API:  25%|##5       | 5/20 [00:01<00:03,  4.0it/s]"], (5, 20)


class TestNemoEvaluator(HarnessConformance):
    plugin = "nemo_evaluator"
    sdk = ("yaml", "nemo_evaluator")

    def sample(self, results: Path) -> None:
        (results / "results.yml").write_text(NEMO)

    def scores(self) -> tuple[Metric, ...]:
        return (Metric("pass@1/contains", 0.7, 0.1025, 20), Metric("pass@1/correct", 0.65, 0.1067, 20))

    def log(self) -> tuple[list[str], tuple[int, int]]:
        return ["INFO byob_progress processed=5 total=20"], (5, 20)
