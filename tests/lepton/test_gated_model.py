"""The page about gated models, its part on Lepton: its config, its commands and its screens, with a server that needs the token."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.docs.markdown import DOCS, blocks, write_files
from tests.lepton.conftest import SERVER

from evalx_lepton.emulator import Emulator, EmulatorSettings
from evalx_lepton.emulator.settings import ImageRule

PAGE = DOCS / "how-to" / "gated-model.md"

TOKEN = "hf_gated_0123456789abcdefghij"

REFUSED = "OSError: You are trying to access a gated repo."

GATED = f"""
import os, runpy, sys
if os.environ.get("HF_TOKEN") != {TOKEN!r}:
    sys.exit({REFUSED!r})
sys.argv = [{str(SERVER)!r}, *sys.argv[1:]]
runpy.run_path({str(SERVER)!r}, run_name="__main__")
"""

TASK = f"""
import json, os, sys
assert os.environ["HF_TOKEN"] == {TOKEN!r}
with open(sys.argv[1] + "/results.json", "w") as file:
    json.dump({{"schema": 1, "metrics": [{{"name": "accuracy", "value": 1.0, "n": 1}}]}}, file)
"""

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Emulator]:
    """One whose model server ends without the right token."""
    (tmp_path / "gated.py").write_text(GATED)
    (tmp_path / "task.py").write_text(TASK)
    server = (sys.executable, str(tmp_path / "gated.py"), "--port", "{port}", "--model", "{served_model_name}")
    images = (ImageRule("*vllm*", server), ImageRule("example.test/eval*"))
    with Emulator(EmulatorSettings(images=images, restart_backoff=0.05), state=tmp_path / "emulator") as emulator:
        yield emulator


@pytest.fixture
def call(workspace: Emulator, tmp_path: Path) -> Call:
    """Runs `evalx` or `lep` as a process, in the workspace, where the page's files are; more: further variables."""
    write_files(PAGE, tmp_path)
    environment = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "COLUMNS")}
    environment |= {**workspace.environment(), "EVALX_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}

    def run(*argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "evalx.cli"] if argv[0] == "evalx" else [str(Path(sys.executable).with_name(argv[0]))]
        return subprocess.run(
            [*program, *argv[1:]], cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True, timeout=90, check=False
        )

    return run


def small(folder: Path) -> list[str]:
    """What takes the place of the harness, which would need its image."""
    command = json.dumps([sys.executable, str(folder / "task.py"), "{results}"])
    task = f'[{{name: gpqa_diamond, container: "example.test/eval:1", harness_config: {{command: {command}}}}}]'
    return ["--display", "none", "evaluation.harness=command", f"evaluation.tasks={task}"]


def test_the_secret_is_missing_is_created_and_is_used(call: Call, workspace: Emulator, tmp_path: Path) -> None:
    config = next(block.title for block in blocks(PAGE) if "lepton/default" in block.text)
    refused = call("evalx", "run", config, *small(tmp_path))
    assert refused.returncode == 2 and workspace.alive() == []
    assert refused.stderr.strip() in [block.text.strip() for block in blocks(PAGE)]

    hint = refused.stderr.partition(" hint: ")[2].strip()
    created = call(*shlex.split(hint.replace("…", TOKEN)))
    assert created.returncode == 0 and workspace.alive() == ["secret/HF_TOKEN"], created.stderr

    done = call("evalx", "run", config, *small(tmp_path))
    assert done.returncode == 0, done.stderr
    assert workspace.alive() == ["secret/HF_TOKEN"]
    kept = [path for path in (*(tmp_path / "state").rglob("*"), *tmp_path.glob("evalx-runs/**/*")) if path.is_file()]
    assert len(kept) > 5 and not [path for path in kept if TOKEN.encode() in path.read_bytes()]


def test_a_token_without_access_shows_as_the_servers_own_words(call: Call, workspace: Emulator, tmp_path: Path) -> None:
    lepton = next(block.title for block in blocks(PAGE) if "lepton/default" in block.text)
    reference = "{value_from: {secret_name_ref: HF_TOKEN}}"
    text = (tmp_path / lepton).read_text()
    assert reference in text
    (tmp_path / "host.yaml").write_text(text.replace(reference, "host:HF_TOKEN"))
    done = call("evalx", "run", "host.yaml", *small(tmp_path), HF_TOKEN="hf_of_somebody_else_0123456789")
    assert done.returncode == 5 and f"its log ends with: {REFUSED}" in done.stderr and "\n hint: its log: evalx logs " in done.stderr
    assert workspace.alive() == []
