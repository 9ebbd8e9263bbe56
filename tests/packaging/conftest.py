"""Environments as users have them: the wheel, built through the sdist, installed with its dependencies; and an editable install."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from attrs import frozen
from tests.docs.markdown import ROOT


@frozen
class Environment:
    """A virtual environment with evalx in it."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def packages(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    def run(
        self, *command: str | Path, cwd: Path, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A program of the environment; its state is in `cwd`, and nothing of this process's environment leads back to the source."""
        clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV", "EVALX_STATE_DIR"}}
        full = {**clean, "EVALX_STATE_DIR": str(cwd / "state"), **(env or {})}
        program, *arguments = map(str, command)
        done = subprocess.run([str(self.bin / program), *arguments], cwd=cwd, env=full, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def install(self, *what: str | Path) -> None:
        """Install with pip."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "--quiet", "--no-warn-script-location"]
        done = subprocess.run([*pip, *map(str, what)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def new_environment(folder: Path) -> Environment:
    """An environment without anything in it."""
    venv.create(folder, symlinks=True)
    return Environment(folder)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    """The wheel."""
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel in a fresh environment, with the dependencies that it declares."""
    environment = new_environment(tmp_path_factory.mktemp("installed") / "venv")
    environment.install(wheel)
    return environment


@pytest.fixture(scope="session")
def editable(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An editable install; the dependencies are those of the other environment."""
    environment = new_environment(tmp_path_factory.mktemp("editable") / "venv")
    environment.install("--no-deps", "--editable", ROOT)
    own = [path for path in installed.packages.iterdir() if not path.name.startswith("evalx")]
    for path in own:
        (environment.packages / path.name).symlink_to(path)
    return environment
