"""What `evalx plugins new` accepts, writes and refuses; that what it writes works is in tests/packaging."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from evalx.cli.scaffolding import KINDS as OFFERED
from evalx.errors import ConfigError
from evalx.scaffold import KINDS, LONGEST_NAME, plan_scaffold, write


def test_the_command_offers_every_kind() -> None:
    assert set(OFFERED) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_to_be_filled_in(kind: str, tmp_path: Path) -> None:
    made = plan_scaffold(kind, "fast-cluster_2", tmp_path / "new")
    write(made)
    project = tomllib.loads((tmp_path / "new/pyproject.toml").read_text())["project"]
    assert project["name"] == "evalx-fast-cluster-2"
    module, _, cls = project["entry-points"][KINDS[kind].group]["fast-cluster_2"].partition(":")
    source = (tmp_path / "new/src" / module.replace(".", "/")).with_suffix(".py")
    assert f"class {cls}:" in source.read_text()
    assert cls.startswith("FastCluster2")
    assert (tmp_path / "new/src/evalx_fast_cluster_2/py.typed").exists()
    assert [path for path, text in made.files.items() if "$module" in path + text or "$name" in text or "MODULE" in path] == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My Cluster", "for example my-cluster"),
        ("../../etc", "for example etc"),
        ("évaluation", "for example valuation"),
        ("2fast", "for example fast"),
        ("trailing-", "for example trailing"),
        ("evalx-grid", "for example grid"),
        ("", "for example my-cluster"),
        ('a"b', "for example a-b"),
        ("a\nb", "for example a-b"),
        ("x" * (LONGEST_NAME + 1), f"for example {'x' * LONGEST_NAME}"),
    ],
)
def test_what_cannot_be_a_name_is_refused_with_one_that_can(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_scaffold("harness", name, tmp_path / "new")
    assert caught.value.hint == hint
    assert plan_scaffold("harness", hint.removeprefix("for example "), tmp_path / "new").files


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [("executor", "local", "has a plugin 'local'"), ("harness", "lepton", "there is a Python package evalx_lepton already")],
)
def test_a_name_that_is_taken_is_refused(kind: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_scaffold(kind, name, tmp_path / "new")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for folder in (tmp_path, tmp_path / "precious", tmp_path / "link"):
        with pytest.raises(ConfigError, match="nothing is overwritten"):
            plan_scaffold("harness", "sums", folder)
    made = plan_scaffold("harness", "sums", tmp_path / "new")
    (tmp_path / "new").mkdir()
    (tmp_path / "new/README.md").write_text("written in the meantime")
    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        write(made)
    assert (tmp_path / "new/README.md").read_text() == "written in the meantime"


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    write(plan_scaffold("harness", "sums", tmp_path))
    assert (tmp_path / "pyproject.toml").exists()


def test_a_folder_that_cannot_be_made_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        write(plan_scaffold("harness", "sums", tmp_path / "file/new"))
