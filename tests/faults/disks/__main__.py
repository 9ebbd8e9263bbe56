"""Every write of a run fails in its turn: the command.

A run of two tasks makes some 320 writes (of SQLite, of files, of folders). In the n-th case the n-th of them fails, in one of the ways of
`KINDS`; then the same disk is in order again, and the run is resumed, or another one made if there was none. The process is real, forked
from one that has imported everything; what fails its calls is `fault.c`. What must be true is read from the backend's folder, from the
database's file and from the screen.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import Factory, define
from tests.faults.signal_cloud import CONFIG, ENTRIES

ROOT = Path(__file__).parents[3]
COMPILER = shutil.which("cc")
KINDS = {"full": (errno.ENOSPC, 1), "read-only": (errno.EROFS, 1), "once": (errno.EIO, 0)}
"""Error, and whether all later writes fail as well."""

TASKS = ("a", "b")
OVER = {"gone", "rejected"}
WITHIN = 60.0
"""Seconds after which a process counts as hanging."""


@define
class Known:
    """What the database's file says; nothing if there is none."""

    sound: bool = True
    runs: int = 0
    scored: set[str] = Factory(set)
    alive: set[str] = Factory(set)


class Case:
    """A run whose write of that number fails, and what comes after it."""

    def __init__(self, folder: Path, number: int, kind: str) -> None:
        self.folder, self.number, self.kind = folder, number, kind
        self.problems: list[str] = []
        self._again = False
        self._created: list[str] = []
        self._scored: set[str] = set()
        (folder / "there").mkdir(parents=True)
        (folder / "calls").touch()
        (folder / "c.yaml").write_text(CONFIG)

    def order(self) -> dict[str, Any]:
        """The next process of it, for the server of forks."""
        error, lasting = KINDS[self.kind]
        number = 0 if self._again else self.number
        argv = ["resume", "last"] if self._again and self._known().runs else ["run", "c.yaml"]
        environment = {
            "SIGNAL_CLOUD": str(self.folder),
            "SIGNAL_STAGE": "none",
            "SIGNAL_SCORES": "1",
            "EVALX_STATE_DIR": str(self.folder / "state"),
            "DISK_FAULT": f"{number} {error} {lasting} {self.folder}" if number else "",
        }
        return {
            "id": str(self.folder),
            "argv": [*argv, "--display", "plain"],
            "cwd": str(self.folder),
            "env": environment,
            "out": str(self.folder / f"out{int(self._again)}"),
        }

    def judge(self, code: int) -> bool:
        """Look at what a process of it has left; whether another one has to follow."""
        said = (self.folder / f"out{int(self._again)}").read_text()
        known, left = self._known(), {path.name for path in (self.folder / "there").iterdir()}
        told = set(re.findall(r"^ +\d+s +(\w+) +scored", said, re.MULTILINE))
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        self._expect("Traceback" not in said and "internal error" not in said, "a traceback")
        errors += re.findall(r"^run \w+: .*\(.*cannot .*", said, re.MULTILINE)
        self._expect(len(errors) == (code != 0), f"exit code {code}, and these errors: {errors}")
        self._expect(known.sound, "the database is damaged")
        self._expect(code in ((0,) if self._again else (0, 7, 70)), f"exit code {code}")
        self._expect(not left or code == 7, f"exit code {code}, and alive: {left}")
        self._expect(left <= known.alive, f"alive and not known: {left - known.alive}")
        self._expect(code != 0 or known.scored == set(TASKS), "exit code 0 without all scores")
        self._expect(told <= known.scored, f"told as scored and not kept: {told - known.scored}")
        self._expect(self._scored <= known.scored, f"lost: {self._scored - known.scored}")
        created = self._calls("create")
        self._expect(bool(known.runs) or not created, f"created without a record of the run: {created}")
        again = [
            name for name in created[len(self._created) :] for task in self._scored if re.fullmatch(rf"evalx-\w+-t\d(r\d+)?-{task}", name)
        ]
        self._expect(not again, f"scored, and run again: {again}")
        self._created, self._scored = created, known.scored
        more = not self._again and not self.problems
        self._again = True
        return more

    def _expect(self, fact: bool, problem: str) -> None:
        if not fact:
            self.problems.append(("afterwards: " if self._again else "") + problem)

    def _calls(self, kind: str) -> list[str]:
        return [what for _, call, what in map(json.loads, (self.folder / "calls").read_text().splitlines()) if call == kind]

    def _known(self) -> Known:
        path = self.folder / "state" / "evalx.db"
        if not path.exists():
            return Known()
        try:
            with closing(sqlite3.connect(path)) as db:
                sound = db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                runs = db.execute("SELECT count(*) FROM runs").fetchone()[0]
                scored = {json.loads(spec)["name"] for spec, state in db.execute("SELECT spec, state FROM tasks") if state == "scored"}
                alive = {name for name, state in db.execute("SELECT name, state FROM resources") if state not in OVER}
        except sqlite3.DatabaseError:
            return Known(sound=False)
        return Known(sound, runs, scored, alive)

    def __str__(self) -> str:
        writes = (self.folder / "writes").read_text().splitlines()
        which = writes[self.number - 1] if self.number <= len(writes) else f"{self.number}, which it did not come to"
        return f"{self.kind}, write {which}: {'; '.join(self.problems)}"


class Server:
    """The process from which those of the cases are forked."""

    def __init__(self, scratch: Path) -> None:
        library = scratch / "fault.so"
        source = Path(__file__).with_name("fault.c")
        subprocess.run([COMPILER or "cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        info = scratch / "site" / "signalcloud-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signalcloud\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(ENTRIES)
        environment = {**os.environ, "PYTHONPATH": f"{info.parent}:{ROOT}", "LD_PRELOAD": str(library)}
        argv = [sys.executable, "-m", "tests.faults.forks"]
        self._process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def work(self, cases: list[Case], at_a_time: int) -> None:
        """All cases to their ends."""
        waiting, busy = cases[::-1], dict[str, Case]()
        while waiting or busy:
            while waiting and len(busy) < at_a_time:
                case = waiting.pop()
                busy[str(case.folder)] = case
                self._start(case)
            answer = json.loads(self._answer())
            case = busy[answer["id"]]
            if "code" in answer:
                if case.judge(answer["code"]):
                    self._start(case)
                else:
                    del busy[answer["id"]]

    def _start(self, case: Case) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(case.order()) + "\n").encode())

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate(timeout=WITHIN)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.disks", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every how-manieth write")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first write")
    parser.add_argument("--to", dest="last", type=int, default=330, help="the last write; a run makes some 320")
    parser.add_argument("--kind", choices=KINDS, action="append", help="how they fail; default: all ways in turn")
    parser.add_argument("--workers", type=int, default=4, help="cases at a time")
    parser.add_argument("--keep", help="a folder for the files of all cases")
    asked = parser.parse_args()
    scratch = Path(asked.keep or tempfile.mkdtemp(prefix="evalx-disks-")).absolute()
    kinds = asked.kind or list(KINDS)
    cases = [
        Case(scratch / f"{number}-{kind}", number, kind) for number in range(asked.first, asked.last + 1, asked.every) for kind in kinds
    ]
    began = time.monotonic()
    server = Server(scratch)
    server.work(cases, asked.workers)
    server.close()
    bad = [case for case in cases if case.problems]
    for case in bad:
        print(case)
    struck = sum(len((case.folder / "writes").read_text().splitlines()) >= case.number for case in cases)
    print(json.dumps({"cases": len(cases), "struck": struck, "bad": len(bad), "seconds": round(time.monotonic() - began, 1)}))
    if not asked.keep:
        shutil.rmtree(scratch, ignore_errors=True)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
