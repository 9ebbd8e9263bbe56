"""Which rules of a policy a run passes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from attrs import frozen

from evalx.compare import Comparison, Refusal, RunComparison, Verdict, compare
from evalx.compare.stats import Score, interval
from evalx.config.structure import suggestion
from evalx.display.text import score
from evalx.gate.policy import Policy, Rule
from evalx.model import Metric, Outcome
from evalx.results.kept import KeptRun

_NOISE = 1e-9
"""What a difference of two decimal fractions may be off by: 0.80 - 0.78 is a little more than 0.02."""
_SHORT = {Verdict.NO_DIFFERENCE: "may be chance", Verdict.NO_TEST: "not testable"}


@frozen
class Check:
    """One condition of a rule, held against one score. line: of the rule in its file. metric: "" where the rule is about a task. condition:
    in the policy's words. found: what was there, in short. why: more words where it failed."""

    line: int
    task: str
    metric: str
    condition: str
    found: str
    passed: bool
    why: str | None = None


def judge(policy: Policy, run: KeptRun, baseline: KeptRun | None) -> list[Check]:
    """Every condition of the policy, in its order. A task, metric or comparison that is not there has failed."""
    comparison = None if baseline is None else compare(baseline, run)
    required = (_required(line, name, run) for line, name in policy.require)
    return [*required, *chain.from_iterable(_rule(line, rule, run, comparison) for line, rule in policy.rules)]


def _required(line: int, name: str, run: KeptRun) -> Check:
    found, why = _missing(name, run)
    return Check(line, name, "", "required", found or "scored", found is None, why)


def _missing(name: str, run: KeptRun) -> tuple[str | None, str | None]:
    """Why a task has no score: in a word or two, and in a sentence. None if it has one."""
    names = [task.name for task in run.plan.tasks]
    task = run.task(name)
    if name not in names:
        return "no such task", f"the run has no task {name!r}; {suggestion(name, names) or 'it has ' + ', '.join(names)}"
    if task is None:
        return "no result", "it has no result"
    if task.result.outcome is not Outcome.PASSED:
        return task.result.outcome.value.replace("_", " "), task.result.reason or "no reason is known"
    return None, None


def _rule(line: int, rule: Rule, run: KeptRun, comparison: RunComparison | None) -> Iterator[Check]:
    for task in _tasks(rule, run, comparison):
        found, why = _missing(task, run)
        if found is not None:
            yield from (Check(line, task, rule.metric or "", condition, found, False, why) for condition in _conditions(rule))
            continue
        kept = run.task(task)
        metrics = {metric.name: metric for metric in (kept.result.metrics if kept else ())}
        for name in [rule.metric] if rule.metric else metrics:
            if name in metrics:
                yield from _checks(line, task, metrics[name], rule, comparison)
            else:
                why = f"the task has no metric {name!r}; {suggestion(name, metrics) or 'it has ' + ', '.join(metrics)}"
                yield from (Check(line, task, name, condition, "no such metric", False, why) for condition in _conditions(rule))


def _tasks(rule: Rule, run: KeptRun, comparison: RunComparison | None) -> list[str]:
    """The rule's task, or all of the run; where it compares, also those that only the baseline has."""
    if rule.task:
        return [rule.task]
    compares = comparison is not None and (rule.max_regression is not None or rule.not_worse)
    plans = [run.plan, *([comparison.a.plan] if comparison and compares else [])]
    return list(dict.fromkeys(task.name for plan in plans for task in plan.tasks))


def _conditions(rule: Rule) -> list[str]:
    """The rule's conditions in the words of the policy; `scored` if it has none."""
    limits = {name: getattr(rule, name) for name in ("min", "max", "min_lower_bound", "max_regression")}
    said = [f"{name} {value:g}" for name, value in limits.items() if value is not None]
    return [*said, *["not_worse"] * rule.not_worse] or ["scored"]


def _checks(line: int, task: str, metric: Metric, rule: Rule, comparison: RunComparison | None) -> Iterator[Check]:
    for condition in _conditions(rule):
        found, passed, why = _check(condition.split()[0], rule, metric, comparison.of(task, metric.name) if comparison else None)
        yield Check(line, task, metric.name, condition, found, passed, why)


def _check(condition: str, rule: Rule, metric: Metric, compared: Comparison | Refusal | None) -> tuple[str, bool, str | None]:
    """What was found, whether that is enough, and why not where the figures do not say it."""
    if condition == "min_lower_bound":
        ends = interval(Score(metric.value, metric.stderr, metric.n))
        if ends is None:
            return "no standard error", False, "without a standard error there is no interval"
        return f"lower bound {score(ends[0])}", ends[0] >= (rule.min_lower_bound or 0.0), None
    if condition in ("max_regression", "not_worse"):
        return _against_baseline(condition, rule, compared)
    below = rule.min is not None and condition == "min" and metric.value < rule.min
    above = rule.max is not None and condition == "max" and metric.value > rule.max
    return score(metric.value), not below and not above, None


def _against_baseline(condition: str, rule: Rule, compared: Comparison | Refusal | None) -> tuple[str, bool, str | None]:
    if not isinstance(compared, Comparison):
        return "not comparable", False, "; ".join(compared.reasons) if compared else "neither run has it"
    difference = compared.estimate.difference
    worse_by = difference if compared.lower_is_better else -difference
    found = f"{difference:+.4f}, {_SHORT.get(compared.verdict, compared.verdict.value)}" if difference else "equal"
    if condition == "max_regression":
        return found, worse_by <= (rule.max_regression or 0.0) + _NOISE, None
    if compared.verdict is Verdict.NO_TEST and worse_by > 0:
        return found, False, "it is worse, and without a standard error chance cannot be told from more"
    return found, compared.verdict is not Verdict.WORSE, None
