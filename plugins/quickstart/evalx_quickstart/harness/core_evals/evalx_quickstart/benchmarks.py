"""The three benchmarks, as NeMo Evaluator's BYOB runner wants them. See `scoring` for what their scores mean."""

from pathlib import Path

from nemo_evaluator.contrib.byob import ScorerInput, benchmark, scorer

from .scoring import score

PROMPT = "Question: {question}\nAnswer with one word or number.\nAnswer:"


def score_sample(sample: ScorerInput) -> dict[str, bool]:
    """What the runner calls for each reply."""
    return score(sample.response, [sample.target, *sample.metadata["also"]])


for questions in sorted(Path(__file__).parent.glob("*.jsonl")):
    benchmark(name=questions.stem, dataset=str(questions), prompt=PROMPT, target_field="answer", endpoint_type="chat")(scorer(score_sample))
