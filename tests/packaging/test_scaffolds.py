"""What `evalx plugins new` writes works as it stands: built, installed beside evalx, tested, checked, and run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packaging.conftest import Environment, new_environment

from evalx.scaffold import KINDS
from evalx.testing import answering

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging"), pytest.mark.timeout(600)]

NAMES = {kind: f"my-{kind}" for kind in KINDS}


@pytest.fixture(scope="module")
def workshop(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An author's environment: evalx's wheel, one new plugin of each kind beside it, and the tools that run this test."""
    folder = tmp_path_factory.mktemp("workshop")
    environment = new_environment(folder / "venv")
    (environment.packages / "tools.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    environment.install("--no-deps", wheel)
    for kind, name in NAMES.items():
        environment.run("evalx", "plugins", "new", kind, name, "--output", kind, cwd=folder)
    environment.install("--no-deps", "--no-build-isolation", *(folder / kind for kind in NAMES))
    return environment


@pytest.fixture(params=list(KINDS))
def package(workshop: Environment, request: pytest.FixtureRequest) -> Path:
    """The folder of a new plugin."""
    return workshop.folder.parent / str(request.param)


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A model server that is right about one sum."""
    with answering("5") as url:
        yield url


def test_its_own_tests_pass(workshop: Environment, package: Path) -> None:
    done = workshop.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", cwd=package)
    assert " passed" in done.stdout


def test_the_check_finds_nothing_wrong_installed_or_not(workshop: Environment, package: Path) -> None:
    for what in (NAMES[package.name], "."):
        assert "wrong" not in workshop.run("evalx", "plugins", "check", what, cwd=package).stdout


def test_ruff_and_mypy_have_nothing_to_say(workshop: Environment, package: Path) -> None:
    workshop.run("python", "-m", "ruff", "check", ".", cwd=package)
    workshop.run("python", "-m", "ruff", "format", "--check", ".", cwd=package)
    # One cache for all: what evalx itself is made of is read once.
    workshop.run("python", "-m", "mypy", "--cache-dir", "../mypy-cache", cwd=package)


def test_its_example_runs(workshop: Environment, package: Path, endpoint: str) -> None:
    if package.name == "lepton-deployment":
        # Without an account: exit code 4, after the plan.
        planned = workshop.run("evalx", "plan", "example/run.yaml", "--json", cwd=package, check=False).stdout
        assert "registry.example.com/my-server:1" in str(json.loads(planned)["preview"]["endpoints"])
        return
    target = [] if "deployment" in package.name else [f"target.api_endpoint.url={endpoint}/v1", "target.api_endpoint.model_id=m"]
    done = workshop.run("evalx", "run", "example/run.yaml", *target, "--json", cwd=package)
    (result,) = json.loads(done.stdout)["results"]
    assert 0 < result["metrics"][0]["value"] < 1
