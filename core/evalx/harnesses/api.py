"""What a harness adapter is.

An adapter is a class in the entry-point group `evalx.harnesses`, made without arguments. It has no state and does no I/O beyond
reading result files, so that the same adapter serves every executor: the executor decides where the command runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from evalx.errors import EvalxError
from evalx.model import EnvValue, Metric, Secret, Site, TaskSpec


class ResultError(EvalxError):
    """A task left no result that can be trusted. The message says what is wrong with which file; it becomes the task's reason."""


@frozen
class Target:
    """The model endpoint as a harness addresses it.

    url: the full URL of the route for `endpoint_type`. base_url: what OpenAI-style clients call base URL: `url` without the route,
    the version (`/v1`) included. model: the name to ask for. api_key: reference of the bearer token requests must carry, if any.
    """

    url: str
    base_url: str
    model: str
    endpoint_type: str = "chat"
    api_key: Secret | None = None


@frozen
class HarnessCommand:
    """What a harness wants to run in `Site.workdir`.

    argv: the command, never a shell line. env: defaults of the harness, which the user's variables override. files: relative path to
    text, written to the working directory before. shell_settings: settings whose values the harness itself would hand to a shell and
    that hold characters a shell acts on; they are refused unless the run trusts commands.
    """

    argv: tuple[str, ...]
    env: Mapping[str, EnvValue] = field(factory=dict)
    files: Mapping[str, str] = field(factory=dict)
    shell_settings: tuple[str, ...] = ()


@frozen
class Sample:
    """One question and what it scored.

    question, target, prompt: texts that are equal in two runs exactly if the question (its row of the data), the expected answer and what
    the model was sent are equal: digests, or ids where there is nothing better; "" where it is not known. scores: by the name of the metric
    that is their mean. A question that was asked several times is there several times.
    """

    question: str
    target: str = ""
    prompt: str = ""
    scores: Mapping[str, float] = field(factory=dict)


@frozen
class Details:
    """What a result says beyond its scores; what two runs are compared by.

    facts: what decides a score beside the model: settings as they took effect, versions, revisions, seeds; two runs are compared only if
    all are equal. lower_is_better: names of metrics of which less is better. samples: empty if none were kept; missing: why, in words.
    """

    facts: Mapping[str, Any]
    lower_is_better: frozenset[str] = frozenset()
    samples: tuple[Sample, ...] = ()
    missing: str | None = None


class Harness(Protocol):
    """An adapter. One instance serves every task of a run, from several threads.

    One whose command starts with a shell says in a class attribute `programs` which programs it needs, one of them at least; an executor
    that can look for them does so before anything is created. Without it, that is the first word of the command.

    One that pip can install may have a method `packages(task: TaskSpec) -> tuple[str, ...]`: what to give to pip for that task; none if it
    is not known. Users are told it when no program is found.

    One that tells in its log how far it is may have a method `progress(log: Sequence[str]) -> tuple[int, int] | None`: samples done of
    how many in all, from the log's last lines, the newest last; None if they do not tell.

    One that tells more than scores may have a method `details(task: TaskSpec, results: Path) -> Details`, which raises ResultError; it is
    asked when runs are compared, for tasks that passed. Without it the settings in the plan must be equal, and nothing is paired.
    """

    evalx_api: tuple[int, int]

    def command(self, task: TaskSpec, target: Target, site: Site) -> HarnessCommand:
        """The command for a task. Raises ConfigError if its `params` do not fit this harness."""

    def parse(self, task: TaskSpec, results: Path) -> tuple[Metric, ...]:
        """The scores in the folder of results, at least one. Raises ResultError if there is no valid, complete result."""
