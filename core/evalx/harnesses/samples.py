"""Reading what harnesses keep of single samples: JSON lines that anybody may have written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalx.harnesses.api import ResultError, Sample
from evalx.results.files import open_regular

MAX_LINE = 16 * 2**20
"""Bytes of one sample: a conversation with long documents has some."""

MAX_SAMPLES = 1_000_000

MAX_VALUES = 1_000_000

MAX_SCORE = 1e100

LOWER_IS_BETTER = frozenset(
    {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter", "wer", "cer", "loss", "error_rate"}
)
"""Metrics of which less is better, by the names that harnesses give them."""


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one on each line. Raises ResultError for anything else."""
    try:
        with open_regular(path) as file:
            for number in range(1, MAX_SAMPLES + 2):
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return
                if len(line) > MAX_LINE:
                    raise ResultError(f"{path.name}:{number} is longer than {MAX_LINE // 2**20} MiB")
                if line.strip():
                    yield _object(line, f"{path.name}:{number}")
    except OSError as error:
        raise ResultError(f"{path.name} cannot be read: {error.strerror or error}") from None
    raise ResultError(f"{path.name} has more than {MAX_SAMPLES:,} lines")


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ResultError(f"{where} is not an object")
    return value


def gathered(samples: Iterable[Sample], otherwise: str) -> tuple[tuple[Sample, ...], str | None]:
    """All samples, or none and why: what is wrong with their file, or `otherwise` if there is none."""
    try:
        found = tuple(samples)
    except ResultError as error:
        return (), error.message
    except RecursionError:
        return (), "a sample is nested too deep"
    return found, None if found else otherwise


def digest(value: Any) -> str:
    """A text that is equal for equal JSON values, whatever the order of their keys."""
    packed = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(packed.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def check_size(source: str, document: Any) -> None:
    """Raises ResultError for a document with more than a million values, each counted as often as YAML's aliases repeat it."""
    waiting, seen = [document], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            raise ResultError(f"{source} has more than {MAX_VALUES:,} values")
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value


def number(value: Any) -> float | None:
    """A score as a number: true is 1; None if it is none, or too large for the squares of many."""
    if not isinstance(value, bool | int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) <= MAX_SCORE else None


def lower_is_better(names: Iterable[str]) -> frozenset[str]:
    """Those of the metrics whose name says that less is better."""
    return frozenset(name for name in names if not LOWER_IS_BETTER.isdisjoint(part.partition("__")[0] for part in name.split("/")))


def byob_samples(paths: Iterable[Path], prefixed: bool) -> Iterator[Sample]:
    """From `byob_predictions.jsonl` of NeMo Evaluator's own runner. prefixed: the metrics' names begin with their task's."""
    for path in paths:
        prefix = f"{path.parent.name}/" if prefixed else ""
        for row in json_lines(path):
            yield _byob(row, prefix)


def _byob(row: Mapping[str, Any], prefix: str) -> Sample:
    data, found = row.get("metadata"), row.get("scores")
    question = {key: value for key, value in data.items() if key != "_repeat"} if isinstance(data, dict) else row.get("sample_id")
    scores = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        if (score := number(value)) is not None:
            # The runner calls every metric pass@1; a score of that name stands alone in `parse`.
            scores[f"{prefix}pass@1" if name == "pass@1" else f"{prefix}pass@1/{name}"] = score
    return Sample(digest(question), digest(row.get("target")), digest(row.get("prompt")), scores)
