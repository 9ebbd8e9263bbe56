"""An executor of somebody else's: built from the plugin author's guide, installed beside evalx, and run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.markdown import DOCS, blocks
from tests.packaging.conftest import Environment
from tests.packaging.test_install import EVALUATION, SERVER

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging"), pytest.mark.timeout(600)]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The files of the guide."""
    folder = tmp_path / "plugin"
    folder.mkdir()
    for block in blocks(DOCS / "plugins/guide.md"):
        if block.title:
            (folder / block.title).write_text(block.text)
    return folder


@pytest.fixture
def with_plugin(installed: Environment, plugin: Path) -> Iterator[Environment]:
    """The environment with the plugin in it, for one test."""
    installed.install("--no-deps", plugin)
    yield installed
    uninstall = [sys.executable, "-m", "pip", "--python", str(installed.bin / "python"), "uninstall", "--yes", "--quiet", "evalx-mini"]
    subprocess.run(uninstall, check=True)


@pytest.fixture
def endpoint(tmp_path: Path, unused_port: int) -> Iterator[str]:
    """The URL of a model server that exists."""
    (tmp_path / "server.py").write_text(SERVER)
    server = subprocess.Popen([sys.executable, str(tmp_path / "server.py"), str(unused_port)], stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{unused_port}/v1"
    server.terminate()
    server.wait(10)


@pytest.fixture
def unused_port() -> int:
    """A port that is free now."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_a_run_with_the_executor_of_the_guide(with_plugin: Environment, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.py").write_text(EVALUATION)
    command = [sys.executable, str(tmp_path / "evaluation.py"), "{url}", "{results}"]
    config = {
        "execution": {"type": "mini"},
        "deployment": {"type": "none"},
        "target": {"api_endpoint": {"url": endpoint, "model_id": "m"}},
        "evaluation": {"harness": "command", "tasks": [{"name": "sums", "harness_config": {"command": command}}]},
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(config))
    listed = with_plugin.run("evalx", "plugins", "ls", cwd=tmp_path).stdout
    assert "evalx-mini" in listed
    summary = json.loads(with_plugin.run("evalx", "run", "mine.yaml", "--executor", "mini", "--json", cwd=tmp_path).stdout)
    assert summary["outcome"] == "succeeded"
    assert summary["results"][0]["metrics"][0]["value"] == 1.0


def test_the_executor_of_the_guide_passes_the_conformance_suite(plugin: Path) -> None:
    info = plugin / "evalx_mini-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evalx-mini\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[evalx.executors]\nmini = evalx_mini:MiniExecutor\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-c",
        "/dev/null",
        "--rootdir",
        str(plugin),
    ]
    environment = {**os.environ, "PYTHONPATH": str(plugin)}
    done = subprocess.run(
        [*command, str(plugin / "test_mini.py")], cwd=plugin, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
