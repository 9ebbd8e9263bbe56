"""The policy file of `evalx gate`."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from evalx.config.settings import at_least, setting
from evalx.config.source import Document, KeyPath, dotted, read_document
from evalx.config.structure import Reader

_NEED_A_BASELINE = ("max_regression", "not_worse")


@frozen(kw_only=True)
class Rule:
    """An entry of `rules`. Each of its conditions is checked for itself; without any, the scores have to be there."""

    task: str | None = setting(None, help="Name of a task; without it the rule is for all tasks of the run.")
    metric: str | None = setting(None, help="Name of a metric, as `evalx results` has it; without it the rule is for all.")
    min: float | None = setting(None, help="The score must be at least this, in the harness's own unit.")
    max: float | None = setting(None, help="The score must be at most this.")
    min_lower_bound: float | None = setting(None, help="The lower end of the score's 95% interval must be at least this.")
    max_regression: float | None = setting(
        None, help="By how much the score may be worse than the baseline's, by chance or not.", validator=at_least(0)
    )
    not_worse: bool = setting(False, help="The score must not be worse than the baseline's by more than chance explains.")


@frozen(kw_only=True)
class PolicyFile:
    """The keys of a policy file."""

    baseline: str | None = setting(None, help="Run to compare with: an id, or a run directory (with a slash; relative to the policy).")
    require: tuple[str, ...] = setting((), help="Tasks that must have a score.")
    rules: tuple[Rule, ...] = setting((), help="What scores must fulfil.")


@frozen
class Policy:
    """A policy that was read. baseline: id or directory of a run. require, rules: with the line of each."""

    path: Path
    baseline: str | None
    require: tuple[tuple[int, str], ...]
    rules: tuple[tuple[int, Rule], ...]


def read_policy(path: Path, baseline: str | None = None) -> Policy:
    """The policy in a YAML file. baseline: if given, wins over the file's. Raises ConfigErrors with every mistake, each with its line."""
    document = read_document(path)

    def where(at: KeyPath) -> str:
        return f"{document.where(at)} {dotted(at)}".strip()

    reader = Reader(where)
    file: PolicyFile = reader.read(document.data, PolicyFile, ())
    _check_meaning(document, reader, baseline)
    reader.check()
    require = tuple((document.lines.get(("require", index), 1), name) for index, name in enumerate(file.require))
    rules = tuple((document.lines.get(("rules", index), 1), rule) for index, rule in enumerate(file.rules))
    return Policy(path, baseline or _placed(path, file.baseline), require, rules)


def _placed(path: Path, baseline: str | None) -> str | None:
    return str(path.absolute().parent / Path(baseline).expanduser()) if baseline and "/" in baseline else baseline


def _check_meaning(document: Document, reader: Reader, baseline: str | None) -> None:
    """What no type says: a policy has to check something, and a rule that compares needs something to compare with."""
    rules = document.data.get("rules")
    if not rules and not document.data.get("require"):
        reader.error((), "this policy checks nothing", "give it `require:`, a list of tasks, or `rules:`, a list of rules")
    if baseline or document.data.get("baseline"):
        return
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        for key in _NEED_A_BASELINE:
            if isinstance(rule, dict) and rule.get(key) not in (None, False):
                reader.error(("rules", index, key), "there is no baseline to compare with", "set baseline: RUN, or pass --baseline RUN")
