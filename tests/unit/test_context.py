"""What hooks are given as `run`: names, marks, tokens."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from attrs import evolve

from evalx.errors import ConfigError, StoreError
from evalx.model import EndpointSpec, Secret, TaskSpec
from evalx.testing import InMemoryExecutor, make_run


@pytest.mark.parametrize("name", ["gsm8k", "Ünïcode / ../../etc", "x" * 200, "---", "a.b_c"])
@pytest.mark.parametrize("index", [0, 7, 1234])
def test_names_fit_every_backend_and_differ_by_kind_index_and_attempt(tmp_path: Path, name: str, index: int) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    endpoint, task = EndpointSpec(name, index, "v", "m"), TaskSpec(name, index, "h", name)
    names = [run.resource_name(spec) for spec in (endpoint, evolve(endpoint, attempt=1), task, evolve(task, attempt=3))]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,34}[a-z0-9])?", found) and run.run_id in found for found in names)


def test_a_folder_never_leaves_the_run_directory(tmp_path: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    for name in ("../../escape", "/etc", "..", "a/b", ""):
        folder = run.task_dir(TaskSpec(name, 0, "h", "e"))
        assert folder.parent == run.directory / "tasks" and folder.is_dir()


def test_the_spec_hash_changes_with_anything_in_the_spec(tmp_path: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    spec = EndpointSpec("a", 0, "v", "m", {"x": {"y": 1}})
    assert run.spec_hash(spec) == run.spec_hash(EndpointSpec("a", 0, "v", "m", {"x": {"y": 1}}))
    assert run.spec_hash(spec) != run.spec_hash(evolve(spec, options={"x": {"y": 2}}))


def test_tokens_belong_to_one_run_and_purpose_and_survive_a_restart(tmp_path: Path, evalx_home: Path) -> None:
    run, other = make_run(tmp_path, InMemoryExecutor()), make_run(tmp_path, InMemoryExecutor())
    token = run.token("endpoints")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert make_run(tmp_path, InMemoryExecutor(), run_id=run.run_id).token("endpoints") == token
    assert len({token, run.token("other"), other.token("endpoints")}) == 3
    assert stat.S_IMODE((evalx_home / "key").stat().st_mode) == 0o600
    assert not [path for path in evalx_home.iterdir() if path.suffix == ".part"]


def test_a_damaged_key_is_an_error_not_a_new_key(tmp_path: Path, evalx_home: Path) -> None:
    evalx_home.mkdir()
    (evalx_home / "key").write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged"):
        make_run(tmp_path, InMemoryExecutor()).token("endpoints")


def test_a_missing_host_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    monkeypatch.setenv("EVALX_TEST_PRESENT", "value")
    assert run.environment({"A": "x", "B": Secret("host:EVALX_TEST_PRESENT")}) == {"A": "x", "B": "value"}
    with pytest.raises(ConfigError, match="EVALX_TEST_ABSENT"):
        run.environment({"A": Secret("host:EVALX_TEST_ABSENT")})
