"""What a user can do about what the platform says: a hint for each trouble that platforms have a word for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from attrs import frozen

from evalx_lepton.views import Reason

Kind = Literal["endpoint", "job"]


@frozen
class Advice:
    """Against what the platform says if it matches: for an endpoint and for a job. `{run}`: the run's id; `{name}`: the resource's."""

    match: str
    endpoint: str
    job: str

    def fits(self, said: str) -> bool:
        return re.search(self.match, said, re.IGNORECASE) is not None


ADVICE = (
    Advice(
        r"imagepull|errimage|invalidimagename|pull image|pull access denied|manifest unknown",
        "is the image's name right? if its registry wants a key: deployment.lepton_config.image_pull_secrets",
        "is the image's name right? if its registry wants a key: execution.lepton_platform.tasks.image_pull_secrets",
    ),
    Advice(
        r"oomkilled|exit code 137|out of memory",
        "it needs more memory: a larger deployment.lepton_config.resource_shape, or a shorter context in extra_args",
        "it needs more memory: a larger execution.evaluation_tasks.resource_shape, or fewer requests at a time",
    ),
    Advice(
        r"preempt",
        "workloads of higher priority took its place: deployment.platform_defaults.queue_config.priority_class; evalx resume {run}",
        "a workload of higher priority took its place: evalx resume {run}, or tasks.platform_defaults.queue_config.priority_class",
    ),
    Advice(
        r"quota|queueing",
        "the quota is used up: fewer at a time (execution.max_endpoints, execution.endpoints=shared), or another node group",
        "the quota is used up: fewer at a time (execution.max_tasks), another tasks.node_group, or a longer tasks.queue_timeout",
    ),
    Advice(
        r"nocapacity|failedscheduling|no capacity|insufficient",
        "no free shape: another resource_shape or node_group, fewer at a time (execution.max_endpoints), or a longer wait",
        "no free shape: another resource_shape or tasks.node_group, fewer at a time (execution.max_tasks), or a longer tasks.queue_timeout",
    ),
    Advice(
        r"configerror",
        "a secret, variable or volume of its spec is wrong: evalx plan shows the spec, lep endpoint events -n {name} may say more",
        "a secret, variable or volume of its spec is wrong: evalx plan shows the spec, lep job events -n {name} may say more",
    ),
    Advice(
        r"nodelost|nodenotready|node .* (is lost|not ready)|evicted",
        "its node went away; the platform starts it anew, or: evalx resume {run}",
        "its node went away: evalx resume {run}, or let Lepton retry: tasks.max_job_failure_retry",
    ),
)
"""The first that fits counts."""


def hint_for(kind: Kind, reasons: Iterable[Reason | str], run_id: str, name: str) -> str | None:
    """What to do about the first of the reasons that there is an advice for."""
    for said in map(str, reasons):
        for advice in ADVICE:
            if advice.fits(said):
                return (advice.endpoint if kind == "endpoint" else advice.job).format(run=run_id, name=name)
    return None


def in_words(reasons: Iterable[Reason], hint: str | None) -> str | None:
    """The reasons in one line, with a hint; None if there is neither."""
    said = "; ".join(dict.fromkeys(map(str, reasons)))
    return " ".join(part for part in (said, f"(hint: {hint})" if hint else "") if part) or None
