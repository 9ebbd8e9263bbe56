"""What happens in a trial, from its number alone."""

from __future__ import annotations

import random

from attrs import frozen

from evalx.failpoints import NAMES

LATE = 0.5
"""Seconds by which a create call that is late has its effect later, whether or not its caller is still there."""

EXECUTORS = ("local", "lepton")

ONLY_LEPTON = {name for name in NAMES if "secret" in name or "teardown" in name}
ONLY_ENDING = {name for name in NAMES if "cancel" in name}
ONLY_REOPENED = {"lease.taken"}
ON_ITS_WAY = ("executor.endpoint.before", "executor.task.before", "executor.task.before", "executor.secret.before")
"""After these a create call is under way for a while."""

MANY = {"commit.before", "commit.after", "events.written"}

STUCK = 5.0
"""Seconds that a command of which a thread hangs is left to itself before it is killed; some end in spite of it."""

LONG, LONGEST_LIFE = 20.0, 1.5
"""Seconds that a task takes which is not to end by itself, and in which a process is killed that no failpoint kills."""


@frozen
class Step:
    """One command. failpoint: what is armed. moment: seconds after which it is killed, if it is alive then: from its beginning or, with
    a failpoint whose action is `note`, from when that was reached."""

    command: str
    failpoint: str = ""
    moment: float | None = None

    def is_over(self, age: float, noted: float | None) -> bool:
        """Whether it is to be killed. age: of its process. noted: seconds since the failpoint was reached, None: it was not."""
        if self.failpoint.endswith("hang"):
            return noted is not None and noted > STUCK
        if self.failpoint:
            return noted is not None and self.moment is not None and noted > self.moment
        return self.moment is not None and age > self.moment


@frozen
class Plan:
    """tasks: how long each takes, in seconds; a negative number fails. shared: one endpoint for all. steps: the last one is undisturbed."""

    number: int
    executor: str
    tasks: tuple[float, ...]
    shared: bool
    max_tasks: int | None
    steps: tuple[Step, ...]


def points(executor: str) -> list[str]:
    """The failpoints that there are for an executor."""
    return [name for name in NAMES if executor == "lepton" or name not in ONLY_LEPTON]


def make(number: int) -> Plan:
    """The plan of that number. The first ones of each executor go through the failpoints one by one."""
    executor, turn = EXECUTORS[number % 2], number // 2
    dice = random.Random(number)
    names = points(executor)
    first = turn < len(names)
    name = names[turn % len(names)]
    step = Step("", _armed(name, 1, "kill")) if first else _step(dice, name)
    tasks = [dice.choice([0.0, 0.0, 0.3]) for _ in range(dice.choice([1, 2, 2, 3]))]
    if not first and dice.random() < 0.15:
        tasks[0] = -1.0
    before: tuple[Step, ...] = ()
    command, shared = "run", dice.random() < 0.5
    if name in ONLY_ENDING | ONLY_REOPENED:
        shared = True
        tasks[0], command = LONG, "cleanup" if name in ONLY_ENDING else dice.choice(["resume", "cleanup"])
        before = (Step("run", _armed("create.recorded", 2, "kill")),)
    steps = [*before, Step(command, step.failpoint, step.moment)]
    if dice.random() < 0.35:
        again = _step(dice, dice.choice(names))
        steps.append(Step(dice.choice(["resume", "cleanup"]), again.failpoint, again.moment))
    last = "cleanup" if LONG in tasks else dice.choice(["resume", "resume", "cleanup"])
    max_tasks = 1 if LONG in tasks else dice.choice([None, 1])  # or a short one might be the first that is recorded
    return Plan(number, executor, tuple(tasks), shared, max_tasks, (*steps, Step(last)))


def _step(dice: random.Random, name: str) -> Step:
    kind = dice.random()
    if kind < 0.2:
        return Step("", moment=dice.uniform(0.05, LONGEST_LIFE))
    if kind < 0.4:
        return Step("", _armed(dice.choice(ON_ITS_WAY), dice.choice([1, 1, 2]), "note"), moment=dice.uniform(0.0, LATE))
    hit = dice.randint(1, 30) if name in MANY else dice.choice([1, 1, 2, 2, 3, 4])
    return Step("", _armed(name, hit, dice.choice(["kill", "kill", "kill", "raise", "hang"])))


def _armed(name: str, hit: int, action: str) -> str:
    return f"{name}:{hit}:{action}"
