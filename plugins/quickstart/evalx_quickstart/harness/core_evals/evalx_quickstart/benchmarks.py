"""The three benchmarks, for NeMo Evaluator's BYOB runner, and how their answers are scored.

One sample, two scores. `contains`: an accepted answer occurs in the reply, as whole words, whatever the case. `exact`: the reply is an
accepted answer and nothing else but punctuation.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from nemo_evaluator.contrib.byob import ScorerInput, benchmark, scorer

PROMPT = "Question: {question}\nAnswer with one word or number.\nAnswer:"
QUESTIONS = sorted(Path(__file__).parent.glob("*.jsonl"))


def words(text: str) -> str:
    """The text in lower case, its punctuation and spacing reduced to single spaces; a minus sign before a digit stays."""
    return " ".join(re.sub(r"[^\w\s-]|-(?!\w)|(?<=\w)-", " ", text.lower()).split())


def score(reply: str, accepted: Iterable[str]) -> dict[str, bool]:
    """Both scores of a reply."""
    said = words(reply)
    wanted = [words(answer) for answer in accepted]
    return {
        "contains": any(re.search(rf"(?<![\w-]){re.escape(answer)}(?!\w)", said) for answer in wanted),
        "exact": said in wanted,
    }


def score_sample(sample: ScorerInput) -> dict[str, bool]:
    """What the runner calls for each reply."""
    return score(sample.response, [sample.target, *sample.metadata["also"]])


for questions in QUESTIONS:
    benchmark(name=questions.stem, dataset=str(questions), prompt=PROMPT, target_field="answer", endpoint_type="chat")(scorer(score_sample))
