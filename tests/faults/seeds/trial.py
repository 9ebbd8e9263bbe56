"""One trial: the plan's commands one after another, and after each what must be true, whatever has happened."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from attrs import define, field
from tests.faults.seeds import forks
from tests.faults.seeds.grounds import SETTLE, Ground
from tests.faults.seeds.plans import Plan, Step

from evalx import failpoints

WITHIN = 60.0
"""Seconds after which an undisturbed command counts as hanging."""

BUSY, DIRTY = 75, 7

SCORE = '{"schema": 1, "metrics": [{"name": "accuracy", "value": 0.5, "n": 4}]}'
TASK = f"""[ "$1" = 0 ] || sleep "$1"; mkdir -p "$2"; echo '{SCORE}' > "$2/results.json" """
FAILING = "exit 3"


@define
class Trial:
    """problems: what should not have been; empty for a good one. hits: the failpoints that were reached."""

    plan: Plan
    ground: Ground
    folder: Path
    change: Callable[[], None] = lambda: None
    problems: list[str] = field(factory=list)
    hits: list[str] = field(factory=list)
    _codes: list[int] = field(factory=list)

    def run(self) -> None:
        self.ground.begin(self.folder)
        (self.folder / "config.yaml").write_text(json.dumps(self._config()))
        for number, step in enumerate(self.plan.steps):
            before = self._scores(), self.ground.created()
            last = number == len(self.plan.steps) - 1
            if not last or self._run_id():
                code = self._do(number, step, last)
                self._codes.append(code)
                self._check(f"{step.command} {step.failpoint or step.moment or 'undisturbed'}", code, *before)
        self._check_end()

    # ------------------------------------------------------------------ what happens

    def _config(self) -> dict[str, Any]:
        tree = self.ground.config(self.folder)
        execution = {"endpoints": "shared" if self.plan.shared else "per_task", "max_tasks": self.plan.max_tasks}
        tree["execution"] = {**tree["execution"], **execution, "output_dir": str(self.folder / "runs")}
        tree["evaluation"] = {"harness": "command", "tasks": [self._task(*entry) for entry in enumerate(self.plan.tasks)]}
        return tree

    def _task(self, index: int, length: float) -> dict[str, Any]:
        script = TASK if length >= 0 else FAILING
        if self.plan.executor == "local":
            script = f'echo "$EVALX_RESOURCE" >> "$0"; {script}'
        braces = script.replace("{", "{{").replace("}", "}}")
        command = ["sh", "-c", braces, str(self.folder / "starts"), f"{length:g}", "{results}"]
        return {"name": f"task{index}", "container": "example.test/eval:1", "harness_config": {"command": command}}

    def _do(self, number: int, step: Step, last: bool) -> int:
        """The command, to whatever end. Returns its exit code, negative for a signal."""
        note = self.folder / f"hit-{number}"
        args = [step.command, str(self.folder / "config.yaml") if step.command == "run" else "last"]
        args += ["--display", "none"] if step.command != "cleanup" else []
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            **self.ground.environment(),
            "EVALX_STATE_DIR": str(self.folder / "state"),
            "EVALX_FAILPOINT": step.failpoint,
            "SEED_SECRET": "a value of this machine",
        }
        began = time.monotonic()
        pid = forks.evalx(
            args, folder=self.folder, environment=environment, output=self.folder / f"output-{number}", change=lambda: self._change(note)
        )
        while (code := _ended(pid)) is None:
            if time.monotonic() - began > WITHIN:
                self.problems.append(f"{step.command} {step.failpoint} did not end within {WITHIN:g} s")
                os.kill(pid, signal.SIGKILL)
            elif step.is_over(time.monotonic() - began, _age(note)):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        if note.exists():
            self.hits.append(step.failpoint.partition(":")[0])
        if last and code != self._expected(step):
            self.problems.append(f"{step.command} ended with {code}, not {self._expected(step)}")
        return code

    def _change(self, note: Path) -> None:
        """In the process that becomes evalx: what is not as it is for users."""
        from evalx_lepton.executor import LeptonExecutor

        LeptonExecutor.settle = SETTLE
        failpoints.ACTIONS["note"] = lambda: None
        for name, action in failpoints.ACTIONS.items():
            failpoints.ACTIONS[name] = lambda action=action: (note.touch(), action())  # type: ignore[misc]
        self.change()

    def _expected(self, step: Step) -> int:
        """The only truthful exit code of a command that nothing disturbs."""
        return int(step.command == "resume" and min(self.plan.tasks) < 0)

    # ------------------------------------------------------------------ what must be true

    def _check(self, what: str, code: int, scores: Mapping[str, str], created: Counter[str]) -> None:
        """After a command."""
        alive, known = self.ground.alive(), self._may_exist()
        unknown = {name for name in alive if name not in known and not name.startswith("secret/")}
        if unknown:
            self.problems.append(f"after {what}: alive, and not in the store as that: {sorted(unknown)}")
        if alive and code >= 0 and code not in (DIRTY, BUSY):
            self.problems.append(f"after {what}: exit code {code}, and alive: {sorted(alive)}")
        now = self._scores()
        if lost := {name for name, result in scores.items() if now.get(name) != result}:
            self.problems.append(f"after {what}: acknowledged results are lost: {sorted(lost)}")
        again = self.ground.created() - created
        if redone := {name for name in again for task in scores if f"-t{task[4:]}-" in name or f"-t{task[4:]}r" in name}:
            self.problems.append(f"after {what}: scored tasks ran again: {sorted(redone)}")

    def _check_end(self) -> None:
        time.sleep(self.ground.lag)
        if alive := self.ground.alive():
            self.problems.append(f"left alive: {sorted(alive)}")
        if twice := {name: count for name, count in self.ground.created().items() if count > 1}:
            self.problems.append(f"created more than once: {twice}")
        run_id = self._run_id()
        if run_id is None:
            return
        if self._may_exist():
            self.problems.append(f"in the store as perhaps alive: {sorted(self._may_exist())}")
        if self.plan.steps[-1].command == "resume":
            wanted = {f"task{index}" for index, length in enumerate(self.plan.tasks) if length >= 0}
            if wanted != set(self._scores()):
                self.problems.append(f"scored: {sorted(self._scores())}, not {sorted(wanted)}")
        told = [json.loads(line)["seq"] for line in (self.folder / "runs" / run_id / "events.jsonl").read_text().splitlines()]
        stored = [row[0] for row in self._rows("SELECT seq FROM events ORDER BY seq")]
        if not told == stored == list(range(1, len(stored) + 1)):
            self.problems.append(f"events.jsonl has {len(told)} events, the store {len(stored)}")
        if not (self.folder / "runs" / run_id / "manifest.json").exists():
            self.problems.append("there is no manifest")

    def _run_id(self) -> str | None:
        rows = self._rows("SELECT run_id FROM runs")
        return rows[0][0] if rows else None

    def _scores(self) -> dict[str, str]:
        """Task → its result, as the store has it, of those that are scored."""
        rows = self._rows("SELECT spec, result FROM tasks WHERE state = 'scored'")
        return {json.loads(spec)["name"]: result for spec, result in rows}

    def _may_exist(self) -> set[str]:
        return {row[0] for row in self._rows("SELECT name FROM resources WHERE state <> 'gone'")}

    def _rows(self, sql: str) -> list[Any]:
        """Read without evalx: what it says of itself counts for nothing here."""
        path = self.folder / "state" / "evalx.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=10.0)) as db, suppress(sqlite3.OperationalError):  # no tables yet
            return db.execute(sql).fetchall()
        return []


def _age(note: Path) -> float | None:
    with suppress(FileNotFoundError):
        return time.time() - note.stat().st_mtime
    return None


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None
