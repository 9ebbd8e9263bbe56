"""The pages about Lepton: what they show is accepted by the SDK, exists in `lep`, is really said by evalx, and runs."""

from __future__ import annotations

import json
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.docs.markdown import DOCS, ROOT, Block, blocks, pages, write_files

from evalx import config, runs
from evalx.model import Outcome
from evalx.plan import make_plan
from evalx.runs import context_of

with warnings.catch_warnings():  # the SDK's own, which users do not see
    warnings.simplefilter("ignore")
    pytest.importorskip("leptonai.api.v2.client")

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")

FOLDER = DOCS / "lepton"
YAML = [block for page in sorted(FOLDER.glob("*.md")) for block in blocks(page) if block.language == "yaml"]
CONFIGS = [block for block in YAML if block.title]
FRAGMENTS = [block for block in YAML if not block.title]
SERVER = ROOT / "tests" / "local" / "stub_server.py"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, from which modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("block", CONFIGS, ids=lambda block: block.title)
def test_the_sdk_accepts_what_the_configs_send(block: Block, here: Path) -> None:
    write_files(block.page, here)
    loaded = config.load(block.title)
    run = context_of(make_plan(loaded, "abcdefghijk"), here, settings=loaded.execution)
    hooks = run.plugins.hooks(run)
    hooks.setup()
    shown = hooks.preview() or {}
    sent = [entry for kind in ("endpoints", "tasks") for entry in shown[kind].values()]
    assert [entry["problems"] for entry in sent] == [[]] * len(sent)
    assert sent


@pytest.mark.parametrize("block", FRAGMENTS, ids=lambda block: f"{block.page.stem}-{FRAGMENTS.index(block)}")
def test_parts_of_configs_fit_into_one(block: Block, here: Path) -> None:
    Path("whole.yaml").write_text(f"defaults: [lepton_vllm_llama_3_1_8b_instruct, _self_]\n{block.text}")
    assert set(yaml.safe_load(block.text)) <= set(config.load("whole.yaml").tree)


# ---------------------------------------------------------------------- commands and messages


def lep_commands() -> list[list[str]]:
    """Every `lep` command on any page, in blocks and in the running text."""
    texts = [text for page in pages() for text in re.findall(r"`(lep [^`]+)`", page.read_text())]
    lines = [line for page in pages() for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    return [shlex.split(text, comments=True)[1:] for text in [*texts, *(line for line in lines if line.startswith("lep "))]]


@pytest.mark.parametrize("words", lep_commands(), ids=" ".join)
def test_lep_has_the_commands_and_options(words: list[str]) -> None:
    from leptonai.cli.cli import lep

    context, command = click.Context(lep), lep
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    assert {word for word in words if word.startswith("-")} <= known


FROM_THE_PLATFORM = {"NoCapacity", "Queueing", "ConfigError", "ImagePullBackOff", "ErrImagePull", "pull access denied"}


def said() -> list[str]:
    """The messages in the headings of the troubleshooting page."""
    headings = re.findall(r"^### (.*)$", (FOLDER / "troubleshooting.md").read_text(), re.MULTILINE)
    return [message for heading in headings for message in re.findall(r"`([^`]+)`", heading) if message not in FROM_THE_PLATFORM]


@pytest.fixture(scope="module")
def source() -> str:
    """The code that speaks to users."""
    files = [*(ROOT / "plugins/lepton").rglob("*.py"), *(ROOT / "core").rglob("*.py")]
    return "\n".join(file.read_text() for file in files if file.parent.name != "emulator")


@pytest.mark.parametrize("message", said())
def test_evalx_really_says_so(message: str, source: str) -> None:
    parts = [part.strip(" ,;.()") for part in message.split("…")]
    assert [part for part in parts if part not in source] == []


# ---------------------------------------------------------------------- the example


def test_the_variant_of_the_guide_serves_the_task_of_the_first_run(here: Path) -> None:
    write_files(FOLDER / "variants.md", here)
    write_files(FOLDER / "first-real-run.md", here)
    command = [sys.executable, str(SERVER), "--port", "{port}", "--model", "smollm2"]
    settings = {"images": [{"match": "ghcr.io/ggml-org/llama.cpp*", "command": command}]}
    Path("emulated.json").write_text(json.dumps(settings))
    tree: dict[str, Any] = yaml.safe_load(Path("llamacpp.yaml").read_text())
    tree["evaluation"] = yaml.safe_load(Path("step2.yaml").read_text())["evaluation"]
    tree["execution"] = {"lepton_platform": {"workspace": "emulated", "emulator": {"settings": str(here / "emulated.json")}}}
    Path("emulated.yaml").write_text(json.dumps(tree))
    summary = runs.start(config.load("emulated.yaml"))
    assert [(result.outcome, result.reason) for result in summary.results] == [(Outcome.PASSED, None)]
    assert summary.exit_code == 0


def test_the_wrapper_of_the_guide_wraps(here: Path) -> None:
    (code,) = [block.text for block in blocks(FOLDER / "variants.md") if block.language == "python" and not block.title]
    space: dict[str, Any] = {}
    exec(compile(code, "variants.md", "exec"), space)
    loaded = config.load("lepton_vllm_llama_3_1_8b_instruct")
    run = context_of(make_plan(loaded, "abcdefghijk"), here, settings=loaded.execution)
    run.plugins.register(space["Mirror"](), "mirror")
    hooks = run.plugins.hooks(run)
    hooks.setup()
    image = (hooks.preview() or {})["endpoints"]["ifeval"]["body"]["spec"]["container"]["image"]
    assert image.startswith("mirror.example.com/vllm/vllm-openai")
