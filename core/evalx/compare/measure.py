"""Whether two results of a task measure the same thing: what was asked, how, and how often."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from evalx import catalog
from evalx.errors import PluginError
from evalx.harnesses.api import Details, ResultError, Sample
from evalx.model import TaskSpec
from evalx.results.kept import KeptRun, KeptTask

_NAMES = {"harness": "harness", "task": "task", "suite": "suite", "container": "container image", "endpoint_type": "endpoint type"}
_WHAT_A_PLAN_TELLS = ("task", "suite", "container", "endpoint_type")
SHOWN = 60


@frozen
class Measured:
    """A task's result with what there is to compare it by. known: the harness told its facts; else the settings stand for them."""

    task: KeptTask
    facts: Mapping[str, Any]
    details: Details
    data: str | None
    known: bool


def measured(run: KeptRun, task: KeptTask) -> Measured:
    """Reads what the task left. Never raises for what it left: then there are no samples, and the details say why."""
    details, known = _details(task)
    facts = dict(_planned(task.spec))
    facts |= details.facts if known else dict(_flat({key: task.spec.options.get(key) for key in ("params", "overrides")}))
    datasets = run.manifest.get("datasets")
    data = datasets.get(task.spec.name) if isinstance(datasets, dict) else None
    return Measured(task, facts, details, data.get("sha256") if isinstance(data, dict) else None, known)


def _details(task: KeptTask) -> tuple[Details, bool]:
    """What the harness tells, and whether it told its facts."""
    try:
        harness = catalog.load("evalx.harnesses", task.spec.harness)()
        if not hasattr(harness, "details"):
            return Details({}, missing=f"the harness {task.spec.harness} does not tell them"), False
        found = harness.details(task.spec, task.folder / "results")
    except PluginError:
        return Details({}, missing=f"the harness {task.spec.harness} is not installed here"), False
    except ResultError as error:
        return Details({}, missing=error.message), False
    except Exception as error:  # noqa: BLE001 -- a third party's: what is wrong with one adapter must not hide the other tasks
        return Details({}, missing=f"details() of the harness {task.spec.harness} failed: {type(error).__name__}: {error}"), False
    if not isinstance(found, Details):
        return Details({}, missing=f"details() of the harness {task.spec.harness} returned {type(found).__name__}"), False
    return found, True


def _planned(spec: TaskSpec) -> Iterator[tuple[str, Any]]:
    yield "harness", spec.harness
    for key in _WHAT_A_PLAN_TELLS:
        yield key, spec.options.get(key)


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        elif value is not None and value != {}:
            yield f"{path}{key}", value


def reasons(a: Measured, b: Measured) -> list[str]:
    """Why the two results are not comparable, each reason in words; empty if they are."""
    return [*_other_facts(a, b), *_other_samples(a, b)]


def _other_facts(a: Measured, b: Measured) -> Iterator[str]:
    # If only one side told its facts, those cannot be held against the settings of the other.
    own = {"harness", *_WHAT_A_PLAN_TELLS}
    compared = a.facts.keys() | b.facts.keys() if a.known == b.known else own
    for key in sorted(compared, key=lambda key: (key not in own, key)):
        one, other = a.facts.get(key), b.facts.get(key)
        if one != other and not (key == "container" and None in (one, other)):
            what = f"other {_NAMES[key]}" if key in _NAMES else f"other {key}"
            yield f"{what}: {_shown(one)} in A, {_shown(other)} in B"
    if a.known != b.known:
        side, why = ("A", a.details.missing) if not a.known else ("B", b.details.missing)
        yield f"how it was measured is not known of {side}: {why}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _other_samples(a: Measured, b: Measured) -> Iterator[str]:
    one, other = a.details.samples, b.details.samples
    if not one or not other:
        if a.data is not None and b.data is not None and a.data != b.data:
            yield "other data: the files in dataset_dir are not the same"
        return
    if len(one) != len(other):
        yield f"other number of samples: {len(one)} in A, {len(other)} in B"
        return
    apart = sum((_questions(one) - _questions(other)).values())
    if apart:
        yield f"other data: {apart} of {len(one)} questions are not the same"
        return
    apart = sum((Counter(map(key, one)) - Counter(map(key, other))).values())
    if apart:
        yield f"other prompt: {apart} of {len(one)} questions were asked in other words"


def _questions(samples: tuple[Sample, ...]) -> Counter[tuple[str, str]]:
    # A harness that knows the question only by its prompt has no other name for it.
    return Counter((sample.question or sample.prompt, sample.target) for sample in samples)


def key(sample: Sample) -> tuple[str, str, str]:
    """What is equal for a sample of A and one of B that may be paired."""
    return sample.question, sample.target, sample.prompt


def notes(a: Measured, b: Measured) -> Iterator[str]:
    """What differs, or cannot be told, and may matter."""
    one, other = a.task.spec.options, b.task.spec.options
    variables = [options.get("env") or {} for options in (one, other)]
    if apart := sorted(name for name in {**variables[0], **variables[1]} if variables[0].get(name) != variables[1].get(name)):
        yield f"variables differ: {', '.join(apart)}"
    for name in ("pre_cmd", "post_cmd"):
        if (one.get(name) or None) != (other.get(name) or None):
            yield f"{name} differs"
    yield from _about_images(a.facts.get("container"), b.facts.get("container"))
    if not (a.details.samples and b.details.samples) and (a.data is None or b.data is None):
        yield "that the questions were the same cannot be checked"


def _about_images(one: str | None, other: str | None) -> Iterator[str]:
    """An image that only one side has is not refused: the same harness may run in it and, on another executor, without it."""
    if one and one == other and "@sha256:" not in one:
        yield f"the image {one} is named by a tag, which may mean another image each time"
    elif one != other and None in (one, other):
        yield f"only {'A' if one else 'B'} names an image, {one or other}: the versions of the harness may differ"
