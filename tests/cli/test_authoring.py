"""`evalx plugins` for those who write one: a list without being asked, a new package, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Command


def test_plugins_alone_lists_them(evalx: Command) -> None:
    assert evalx("plugins").out == evalx("plugins", "ls").out
    assert evalx("plugins", "--json").json == evalx("plugins", "ls", "--json").json


def test_a_new_package_its_next_steps_and_its_check(evalx: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = evalx("plugins", "new", "harness", "riddles")
    assert done.code == 0
    listed = [line.strip() for line in done.out.splitlines()[1:]]
    assert sorted(listed) == sorted(str(path.relative_to("evalx-riddles")) for path in Path("evalx-riddles").rglob("*") if path.is_file())
    assert "cd evalx-riddles" in done.err and "src/evalx_riddles/harness.py" in done.err
    right = evalx("plugins", "check", "evalx-riddles")
    assert (right.code, right.out) == (0, "ok    riddles  evalx.harnesses  evalx-riddles 0.1.0\n")
    assert "nothing is wrong" in right.err


def test_what_is_wrong_is_told_with_place_and_hint_and_an_exit_code(evalx: Command, tmp_path: Path) -> None:
    evalx("plugins", "new", "harness", "puzzles", "--output", str(tmp_path / "new"))
    module = tmp_path / "new/src/evalx_puzzles/harness.py"
    module.write_text(module.read_text().replace("def parse(", "def read("))
    wrong = evalx("plugins", "check", str(tmp_path / "new"))
    assert wrong.code == 2
    assert "harness.py:" in wrong.out and "it has no method parse" in wrong.out and " hint: def parse(self, task, results)" in wrong.out
    assert wrong.err.endswith("1 plugin checked, 1 problem\n")
    module.write_text("print('hello')\n" + module.read_text().replace("from __future__ import annotations\n", ""))
    told = evalx("plugins", "check", str(tmp_path / "new"), "--json")
    assert told.code == 2
    assert [problem["plugin"] for problem in told.json["problems"]] == ["puzzles"]
    assert told.json["plugins"][0]["problems"] == 1


def test_a_new_package_as_json(evalx: Command, tmp_path: Path) -> None:
    done = evalx("plugins", "new", "exporter", "sheet", "--output", str(tmp_path / "new"), "--json")
    assert done.json["schema"] == 1 and done.json["next"][-1] == "pytest"
    assert all((tmp_path / "new" / path).is_file() for path in done.json["files"])
    assert evalx("plugins", "new", "exporter", "sheet", "--output", str(tmp_path / "new")).code == 2
    assert evalx("plugins", "check", "no-such-plugin").code == 2
