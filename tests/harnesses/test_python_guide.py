"""The session of the Python guide, line by line, with the real harness and the toy model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.markdown import DOCS, blocks

from evalx_quickstart import paths


@pytest.fixture
def quickstart(nemo_venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `python -m evalx_quickstart --model tinyqa`, but with the harness that the tests keep."""
    monkeypatch.setenv("EVALX_QUICKSTART_DIR", str(tmp_path / "quickstart"))
    paths.venv().mkdir(parents=True)
    for entry in nemo_venv.iterdir():
        (paths.venv() / entry.name).symlink_to(entry)
    paths.venv_marker().touch()


def test_the_session_runs_as_it_stands(quickstart: None, tmp_path: Path) -> None:
    session = "\n".join(block.text for block in blocks(DOCS / "how-to" / "python.md") if block.language == "python")
    done = subprocess.run([sys.executable, "-c", session], cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert done.stderr == "" and done.returncode == 0
    first, *_ = lines = done.stdout.splitlines()
    assert Path(first.split()[1]).parent == tmp_path / "evalx-runs"
    assert [line.split()[0] for line in lines if "±" in line] == ["arithmetic", "arithmetic", "capitals", "capitals"]
    task, difference = lines[-3].split()
    assert task == "arithmetic" and float(difference) > 0, "the strong model is better"
    assert [line.split()[1] for line in lines[-2:]] == ["succeeded", "succeeded"]
