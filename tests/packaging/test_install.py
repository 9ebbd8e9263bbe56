"""What users install works from where they stand: not from the source tree, and without what only developers have."""

from __future__ import annotations

import json
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from tests.docs.markdown import ROOT
from tests.packaging.conftest import Environment

import evalx

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging"), pytest.mark.timeout(600)]

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"choices": [{"message": {"role": "assistant", "content": "5"}}]})
    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

EVALUATION = """
import json, pathlib, sys, urllib.request
url, results = sys.argv[1:]
asked = urllib.request.Request(url, json.dumps({"model": "m", "messages": []}).encode(), {"Content-Type": "application/json"})
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as answer:
    said = json.load(answer)["choices"][0]["message"]["content"]
pathlib.Path(results).mkdir(exist_ok=True)
metrics = [{"name": "accuracy", "value": float(said == "5"), "stderr": 0.0, "n": 1}]
pathlib.Path(results, "results.json").write_text(json.dumps({"schema": 1, "metrics": metrics}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a config, a model server and an evaluation that need nothing but the standard library."""
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "evaluation.py").write_text(EVALUATION)
    command = [sys.executable, str(tmp_path / "evaluation.py"), "{url}", "{results}"]
    config = {
        "defaults": [{"execution": "local/default"}, {"deployment": "command"}, "_self_"],
        "deployment": {"argv": [sys.executable, str(tmp_path / "server.py"), "{port}"], "served_model_name": "m"},
        "evaluation": {
            "harness": "command",
            "tasks": [{"name": name, "harness_config": {"command": command}} for name in ("sums", "more-sums")],
        },
    }
    (tmp_path / "project.yaml").write_text(json.dumps(config))
    return tmp_path


def test_the_sdist_holds_what_it_takes_to_test_it(distributions: Path) -> None:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "core/evalx/py.typed", "tests/conftest.py", "docs/tutorial.md"}
    assert wanted <= names
    assert any(name.startswith("configs/") for name in names)


def test_the_wheel_holds_the_packages_the_configs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    packages = {Path(folder).name for folder in SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert {name.partition("/")[0] for name in names} == {*packages, f"evalx-{evalx.__version__}.dist-info"}
    assert {f"evalx/_configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.yaml")} <= set(names)
    assert [name for name in names if name.startswith("evalx/_configs/") and not name.endswith(".yaml")] == []
    assert {"evalx/py.typed", "evalx_local/py.typed"} <= set(names)


def test_the_command_says_its_version(installed: Environment, tmp_path: Path) -> None:
    assert installed.run("evalx", "--version", cwd=tmp_path).stdout == f"evalx {evalx.__version__}\n"


@pytest.mark.parametrize("kind", ["installed", "editable"])
def test_plugins_and_shipped_configs_are_found_by_name(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    environment: Environment = request.getfixturevalue(kind)
    listed = json.loads(environment.run("evalx", "plugins", "ls", "--json", cwd=tmp_path).stdout)
    names = {(plugin["group"], plugin["name"]) for plugin in listed["plugins"]}
    assert {("evalx.executors", "local"), ("evalx.harnesses", "command"), ("evalx.local.deployments", "vllm")} <= names
    shown = environment.run("evalx", "config", "show", "local_existing_endpoint", "target.api_endpoint.model_id=m", cwd=tmp_path)
    assert "type: local" in shown.stdout


@pytest.mark.parametrize("kind", ["installed", "editable"])
def test_a_run_from_another_folder_ends_with_scores(kind: str, request: pytest.FixtureRequest, project: Path) -> None:
    environment: Environment = request.getfixturevalue(kind)
    done = environment.run("evalx", "run", "project.yaml", "--json", cwd=project)
    summary = json.loads(done.stdout)
    assert summary["outcome"] == "succeeded"
    assert [result["metrics"][0]["value"] for result in summary["results"]] == [1.0, 1.0]
    again = json.loads(environment.run("evalx", "results", "last", "--json", cwd=project).stdout)
    assert again["results"] == summary["results"]
    assert environment.run("evalx", "report", "last", "--output", "-", cwd=project).stdout.startswith("<!doctype html>")


def test_every_third_party_import_is_declared(installed: Environment) -> None:
    """What the source imports, whether at the top of a module or inside a function, comes with `pip install evalx`."""
    code = "import importlib.util, sys; sys.exit(' '.join(n for n in sys.argv[1:] if not importlib.util.find_spec(n)) or 0)"
    done = installed.run("python", "-c", code, *sorted(imported()), cwd=installed.folder, check=False)
    assert done.stderr.strip() == ""


def test_every_dependency_is_used() -> None:
    provided = packages_distributions()
    used = {distribution.lower() for module in imported() for distribution in provided.get(module, ())}
    declared = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requires("evalx") or () if "extra ==" not in requirement}
    assert declared - used == set()


def imported() -> set[str]:
    """Top-level modules that evalx and its executors import, the standard library left out."""
    return {module for path in sources() for module in modules_of(path)} - set(sys.stdlib_module_names) - {"evalx", "evalx_local", "pytest"}


def sources() -> Iterator[Path]:
    yield from (ROOT / "core").rglob("*.py")
    yield from (ROOT / "plugins/local").rglob("*.py")


def modules_of(path: Path) -> Iterator[str]:
    import ast

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
