"""Real harnesses, in virtual environments of their own, against the real model server of the quickstart.

The environments are kept between runs in `$EVALX_TEST_CACHE`, or the user's cache folder, under a hash of what they hold.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import platformdirs
import pytest

from evalx.harnesses.api import Harness
from evalx.harnesses.build import task_command
from evalx.model import EndpointHandle, EndpointSpec, Secret, Site, TaskResult, TaskSpec
from evalx.results import conclude

QUICKSTART = Path(__file__).parents[2] / "plugins" / "quickstart" / "evalx_quickstart"
NEMO_EVALUATOR = ("numpy", "nemo-evaluator==0.2.8")
LM_EVAL = ("lm-eval[api]==0.4.13",)


def cached_venv(*requirements: str) -> Path:
    """A virtual environment with these requirements; made if missing, by one process at a time."""
    cache = Path(os.environ.get("EVALX_TEST_CACHE") or platformdirs.user_cache_dir("evalx-tests"))
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        venv, complete = cache / key, cache / key / "complete"
        if not complete.exists():
            shutil.rmtree(venv, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            subprocess.run([venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True)
            complete.touch()
    return venv


@pytest.fixture(scope="session")
def nemo_venv() -> Path:
    return cached_venv(*NEMO_EVALUATOR)


@pytest.fixture(scope="session")
def lm_eval_venv() -> Path:
    return cached_venv(*LM_EVAL)


@contextmanager
def model_server(venv: Path, model: str) -> Iterator[str]:
    """The quickstart's server with its `weak` or `strong` toy model, served as `tinyqa`. Yields its URL."""
    argv = [
        venv / "bin" / "python",
        QUICKSTART / "server.py",
        "--path",
        QUICKSTART / "models" / "tinyqa" / model,
        "--model",
        "tinyqa",
        "--port",
        "0",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            url = next(word for word in server.stdout.readline().split() if word.startswith("http://")).rstrip(".,/")
            _until_healthy(url)
            yield url
        finally:
            server.kill()


def _until_healthy(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@attrs.frozen
class Started:
    """A task that runs."""

    harness: Harness
    task: TaskSpec
    site: Site
    process: subprocess.Popen[bytes]

    def result(self) -> TaskResult:
        """Waits for its end."""
        exit_code = self.process.wait(110)
        return conclude(self.harness, self.task, Path(self.site.workdir), exit_code=exit_code)


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a task as an executor would: the complete command, a folder of its own, `venv` first on PATH."""
    started: list[Started] = []

    def start_it(
        harness: Harness,
        venv: Path,
        url: str,
        port: int,
        *,
        timeout: float = 100,
        env: dict[str, str],
        dataset_dir: Path | None = None,
        **options: object,
    ) -> Started:
        workdir = tmp_path / f"task {len(started)}"
        workdir.mkdir()
        task = TaskSpec(f"task-{len(started)}", len(started), "any", "model", {"endpoint_type": "chat", **options}, timeout)
        endpoint = EndpointHandle(EndpointSpec("model", 0, "none", "tinyqa"), "model", url, owned=False)
        site = Site(str(workdir), port, str(dataset_dir) if dataset_dir else None)
        command = task_command(harness, task, endpoint, site, trusted=False)
        for name, text in command.files.items():
            (workdir / name).write_text(text)
        own = {name: value for name, value in command.env.items() if not isinstance(value, Secret)}
        everything = {**os.environ, "HOME": str(tmp_path), **own, **env, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
        with (workdir / "output.log").open("wb") as log:
            process = subprocess.Popen(command.argv, cwd=workdir, env=everything, stdout=log, stderr=log, start_new_session=True)
        started.append(Started(harness, task, site, process))
        return started[-1]

    yield start_it
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, 9)
        one.process.wait()
