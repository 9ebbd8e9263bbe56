"""`services.py` with the real libraries, in an environment made of this one and of what the extras `mlflow` and `wandb` bring."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from tests.docs.markdown import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
WITHOUT_DATABASE = [one for one in EXTRAS["mlflow"] if one.startswith("mlflow")] + EXTRAS["wandb"]
EVERYTHING = [*EXTRAS["mlflow"], *EXTRAS["wandb"], "huggingface_hub"]


def libraries(requirements: Sequence[str]) -> Path:
    """A folder with these installed, kept between runs; made if missing, by one process at a time."""
    cache = Path(os.environ.get("EVALX_TEST_CACHE") or platformdirs.user_cache_dir("evalx-tests"))
    key = hashlib.sha256("\n".join((sys.version, "target", *requirements)).encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, complete = cache / key, cache / f"{key}.complete"
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
            subprocess.run([*pip, *requirements], check=True)
            complete.touch()
    return folder


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment that has these libraries and, after them, everything that this one has."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    own = [path for path in sys.path if path.endswith("site-packages") or Path(path).is_relative_to(ROOT)]
    (packages / "everything.pth").write_text("\n".join([str(libraries(requirements)), *own]))
    return folder / "bin" / "python"


def suite(python: Path, folder: Path) -> str:
    """The summary of `services.py`, all of which must pass."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--noconftest", "-c", os.devnull, "--rootdir", str(folder)]
    command = [str(python), "-m", "pytest", *options, "--basetemp", str(folder / "tmp"), str(Path(__file__).with_name("services.py"))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mlflow_and_wandb_pass_the_suite(tmp_path: Path, evalx_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow with its store of files, which is deprecated, but needs no database."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    python = environment(tmp_path / "venv", WITHOUT_DATABASE)
    assert "passed" in suite(python, tmp_path)


@pytest.mark.manual
@pytest.mark.timeout(900)
@pytest.mark.skipif("EVALX_TEST_DATABASE" not in os.environ, reason="run by hand, with EVALX_TEST_DATABASE=1: docs/development.md")
def test_everything_passes_with_a_database_and_the_hubs_library(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", EVERYTHING)
    assert "skipped" in suite(python, tmp_path)


@pytest.mark.parametrize(("exporter", "library"), [("mlflow", "mlflow"), ("wandb", "wandb")])
def test_without_its_library_an_exporter_says_what_to_install(
    exporter: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    from evalx.errors import PluginError
    from evalx.exporters import loading

    real: Any = importlib.util.find_spec
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == library else real(name))
    with pytest.raises(PluginError) as caught:
        loading.load_exporter(exporter)
    assert caught.value.hint == f"pip install 'evalx[{exporter}]'"
