"""How far a harness is, from lines that real ones wrote."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evalx.harnesses.lm_eval import LmEvalHarness
from evalx.harnesses.nemo_evaluator import NemoEvaluatorHarness

NEMO = [
    "[I 2026-11-22T14:14:14.417] Evaluation progress processed=2 total=24 pct=8 scored=2 skipped=0",
    "[I 2026-11-22T14:14:19.958] Evaluation progress processed=4 total=24 pct=17 scored=4 skipped=0",
    "[I 2026-11-22T14:14:20.000] Request completed status_code=200 path=chat/completions logger=root",
]
LM_EVAL = ["100%|##########| 20/20 [00:00<00:00, 2000.00it/s]", "Requesting API:  45%|####5     | 9/20 [00:02<00:02,  4.10it/s]"]


@pytest.mark.parametrize(
    ("harness", "log", "expected"),
    [
        (NemoEvaluatorHarness(), NEMO, (4, 24)),
        (NemoEvaluatorHarness(), LM_EVAL, (9, 20)),
        (NemoEvaluatorHarness(), ["processed=30 total=24"], None),
        (LmEvalHarness(), LM_EVAL, (9, 20)),
        (LmEvalHarness(), LM_EVAL[:1], None),
        (LmEvalHarness(), [], None),
    ],
)
def test_the_newest_count_is_told(
    harness: LmEvalHarness | NemoEvaluatorHarness, log: Sequence[str], expected: tuple[int, int] | None
) -> None:
    assert harness.progress(log) == expected
