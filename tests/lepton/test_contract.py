"""What evalx needs of leptonai: payloads that no friendly server sends, and the same with the oldest and newest versions that it supports.

The other versions are installed without their dependencies into folders of their own, which come first on the path of a process; what they
depend on is what this environment has.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from tests.lepton.test_sdk import answering  # noqa: F401 -- a fixture
from tests.lepton.test_situations import config

from evalx.errors import EvalxError
from evalx_lepton import states
from evalx_lepton.emulator import Emulator

HERE = Path(__file__).parent

OLDEST, NEWEST, UNSUPPORTED = "0.47.0", "0.47.1", "0.27.3"
"""Versions of leptonai. Between 0.27.3 and 0.47.0 none was published."""

ENDPOINT = {
    "metadata": {"id": "ours", "name": "ours", "created_at": 1, "created_by": "me", "owner": "me", "labels": {"EVALX_RUN": "x"}},
    "spec": {
        "container": {"image": "i", "command": ["c"], "ports": [{"container_port": 80}]},
        "resource_requirement": {"resource_shape": "s", "min_replicas": 1, "max_replicas": 1},
        "envs": [{"name": "EVALX_RUN", "value": "x"}],
        "api_tokens": [{"value": "t"}],
    },
    "status": {"state": "Ready", "phase": "Ready", "endpoint": {"internal_endpoint": "", "external_endpoint": "http://x"}},
}
JOB = {
    "metadata": {"id": "evalx-ours-1234", "name": "evalx-ours", "created_at": 1, "created_by": "me", "labels": {"EVALX_RUN": "x"}},
    "spec": {"container": {"image": "i", "command": ["c"]}, "resource_shape": "s", "envs": [{"name": "EVALX_RUN", "value": "x"}]},
    "status": {"job_name": "j", "state": "Running", "ready": 1, "active": 1, "failed": 0, "succeeded": 0, "creation_time": 1},
}
GONE = object()
VALUES = (GONE, None, "Levitating", 7, [None], {})


def paths(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in it."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield (*at, key)
        yield from paths(value, (*at, key))


def mutated(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy in which that is another value, or gone."""
    key, *rest = path
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest:
        copy[key] = mutated(tree[key], tuple(rest), value)
    elif value is not GONE:
        copy[key] = value
    elif isinstance(copy, dict):
        del copy[key]
    else:
        copy.pop(key)
    return copy


@pytest.mark.parametrize(("kind", "item", "name"), [("deployments", ENDPOINT, "ours"), ("jobs", JOB, "evalx-ours")])
def test_whatever_is_wrong_with_an_item_it_is_never_absent(answering: Any, kind: str, item: Any, name: str) -> None:  # noqa: F811
    """Each field missing, null, of another type or with an unheard-of value: the item is read, or it counts as unread."""
    bodies = [mutated(item, path, value) for path in paths(item) for value in VALUES]
    current: list[Any] = []
    workspace = answering(lambda _method, path: (200, [*current], {}) if path.startswith(f"/{kind}") else None)
    renamed = {("metadata", "id"), ("metadata", "name"), ("metadata",)}
    cases = [(path, value) for path in paths(item) for value in VALUES]
    for (path, value), body in zip(cases, bodies, strict=True):
        current[:] = [body]
        found = workspace.endpoints() if kind == "deployments" else workspace.jobs("evalx-", archived=True)
        known = states.ENDPOINT if kind == "deployments" else states.JOB
        assert all(view.state in known for view in found.views()), (path, value)
        if path not in renamed:
            assert not found.lacks(name), (path, value)
    assert len(bodies) > 100


@pytest.mark.parametrize("body", [None, {}, {"features": None}, {"features": {"enable_new_deployment_api": "yes"}}, [], "text", 7])
def test_a_workspace_that_tells_nothing_of_itself(answering: Any, body: Any) -> None:  # noqa: F811
    workspace = answering(lambda _method, path: (200, body, {}) if path == "/workspace" else None)
    with pytest.raises(EvalxError):
        workspace.info()
    assert workspace.new_api is False


@pytest.mark.parametrize("events", [[], None, [{"type": "Warning"}], [7], [{"type": "Warning", "reason": "R", "count": 1}], {"items": []}])
def test_events_that_cannot_be_read_are_no_reason(answering: Any, events: Any) -> None:  # noqa: F811
    workspace = answering(lambda _method, path: (200, events, {}) if path.endswith("/events") else None)
    with suppress(EvalxError):
        assert workspace.reasons("job", "j") == []


# ---------------------------------------------------------------------- other versions


def installed(version: str) -> Path:
    """A folder with that version of leptonai alone; made if missing, by one process at a time."""
    cache = Path(os.environ.get("EVALX_TEST_CACHE") or platformdirs.user_cache_dir("evalx-tests"))
    folder = cache / f"leptonai-{version}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "--target", str(folder), f"leptonai=={version}"], check=True)
            (folder / "complete").touch()
    return folder


OTHERS = [
    pytest.param(version, marks=pytest.mark.skipif(version == importlib.metadata.version("leptonai"), reason="all other tests run with it"))
    for version in (OLDEST, NEWEST)
]


def child(version: str, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A Python program that finds that version of leptonai first."""
    env = {**os.environ, "PYTHONPATH": str(installed(version)), "PYTHONWARNINGS": "default"}
    return subprocess.run([sys.executable, *argv], cwd=folder, env=env, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("new_endpoints", [False, True])
@pytest.mark.parametrize("version", OTHERS)
def test_a_run_with_that_version(workspace: Callable[..., Emulator], tmp_path: Path, version: str, new_endpoints: bool) -> None:
    emulator = workspace(new_endpoints=new_endpoints)
    done = child(version, tmp_path, "-m", "evalx.cli", "run", config(tmp_path, ["one", "two"]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert emulator.alive() == []


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHERS)
def test_the_suite_of_the_wrapper_with_that_version(version: str) -> None:
    own = str(HERE / "test_contract.py")
    done = child(version, HERE, "-c", "import importlib.metadata as m; print(m.version('leptonai'))")
    assert done.stdout.strip() == version
    argv = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", "-W", "default", "-o", "addopts="]
    done = child(version, HERE.parents[1], *argv, "--import-mode=importlib", str(HERE / "test_sdk.py"), own)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_a_version_that_is_not_supported_creates_nothing(workspace: Callable[..., Emulator], tmp_path: Path) -> None:
    emulator = workspace()
    done = child(UNSUPPORTED, tmp_path, "-m", "evalx.cli", "run", config(tmp_path, ["one"]))
    assert done.returncode == 2
    assert f"leptonai {UNSUPPORTED} is installed, but this evalx works with >=0.47,<0.48" in done.stderr
    assert "Traceback" not in done.stderr
    assert (emulator.history, emulator.calls.total()) == ([], 0)
