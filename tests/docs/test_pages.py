"""What the pages show is true: links lead somewhere, configs compose, commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from tests.docs.markdown import DOCS, ROOT, Block, blocks, pages, prose, write_files

from evalx import config
from evalx.cli.app import cli
from evalx.plan import make_plan
from evalx_quickstart import paths

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CONFIGS = [block for page in pages() for block in blocks(page) if block.language == "yaml" and block.title]
COMMANDS = [block for page in pages() for block in blocks(page) if block.language in {"console", "sh"}]


def anchors(page: Path) -> set[str]:
    """The anchors that headings of a page get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        todo += [(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(page)) if "://" not in link]
    assert {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if page not in reached} == set()


@pytest.mark.parametrize("block", CONFIGS, ids=lambda block: f"{block.page.stem}-{block.title}")
def test_configs_compose(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("questions").mkdir()
    monkeypatch.setenv("EVALX_QUICKSTART_DIR", str(tmp_path / "quickstart"))
    for prepared in (paths.python(), paths.venv_marker(), paths.weights()):
        prepared.parent.mkdir(parents=True, exist_ok=True)
        prepared.touch()
    write_files(block.page, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = make_plan(config.load(block.title))
    assert plan.tasks
    assert plan.endpoints


def commands(block: Block) -> list[list[str]]:
    """The evalx commands in a block, as argument lists; in a console only what follows the prompt."""
    lines = block.text.replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ") or block.language == "sh"]
    parts = [part.strip() for line in typed for part in re.split(r"&&|\|\||[|;]", line)]
    split = [shlex.split(part, comments=True) for part in parts if "'" not in part or part.count("'") % 2 == 0]
    return [words[1:] for words in split if words and words[0].rpartition("/")[2] == "evalx"]


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: f"{block.page.stem}-{COMMANDS.index(block)}")
def test_commands_and_their_options_exist(block: Block) -> None:
    for words in commands(block):
        context, command = click.Context(cli), cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            assert found is not None, words
            command, words = found, words[1:]
        known = {option for parameter in command.get_params(context) for option in [*parameter.opts, *parameter.secondary_opts]}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known, f"{words}: {used - known}"


def headings_that_quote() -> list[str]:
    """What evalx says, by the headings of the page about what goes wrong."""
    headings = re.findall(r"^### (.*)$", (DOCS / "how-to/troubleshooting.md").read_text(), re.MULTILINE)
    return [message for heading in headings for message in re.findall(r"`([^`]+)`", heading)]


@pytest.mark.parametrize("message", headings_that_quote())
def test_evalx_really_says_so(message: str) -> None:
    source = "\n".join(file.read_text() for folder in ("core", "plugins/local") for file in (ROOT / folder).rglob("*.py"))
    assert [part for part in message.split("…") if part.strip() not in source] == []


@pytest.mark.parametrize("package", ["core/evalx", "plugins/lepton/evalx_lepton"])
def test_the_architecture_names_every_room(package: str) -> None:
    rooms = [path for path in (ROOT / package).iterdir() if path.is_dir() or path.suffix == ".py"]
    names = {path.stem + "/" * path.is_dir() for path in rooms if not path.name.startswith("__")}
    told = set(re.findall(r"`([a-z_]+/?)`", (DOCS / "architecture.md").read_text()))
    assert {name for name in names if not {name, name.rstrip("/")} & told} == set()


def test_the_last_step_of_ci_is_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci/run").read_text().rstrip().splitlines()
    assert script[-1] in [line for block in blocks(ROOT / "README.md") for line in block.text.splitlines()]
