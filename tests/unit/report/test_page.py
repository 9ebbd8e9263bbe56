"""The page as text: what it says, what it never contains, that it stays small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.unit.report.samples import HOSTILE, Story, usual

from evalx.errors import ConfigError, StoreError
from evalx.model import EndpointSpec, Metric, Outcome, TaskSpec
from evalx.report import MARK, Left, is_report, render, write_report

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """The elements and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.unbalanced = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.unbalanced |= not self.open or self.open.pop() != tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def test_what_a_page_says() -> None:
    page = Page(render(usual().data("partial", exit_code=1)))
    for said in (
        "Run k3fexample",
        "partial",
        "1 of 2 tasks scored",
        "0.7500 ± 0.0500",
        "61.50",
        "exit code 3",
        "0.0197",
        "something odd",
        "vllm:1",
    ):
        assert said in page.words
    assert not page.unbalanced and not page.open
    titles = [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert titles[0] == "h1" and titles.count("h1") == 1


def test_nothing_is_loaded_and_the_style_is_the_one_that_is_allowed() -> None:
    text = render(usual().data())
    page = Page(text)
    (policy,) = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    for tag, attrs in page.elements:
        assert tag not in {"script", "iframe", "object", "embed", "img", "link", "form", "base", "image", "use"}
        assert not {name for name in attrs if name.startswith("on") or name in {"src", "style", "srcset", "xlink:href"}}
        assert (attrs.get("href") or "#").startswith("#")
    assert "url(" not in style and "@import" not in style


def hostile_story(directory: Path) -> Story:
    """As `usual`, with hostile text in every place that takes text from outside."""
    story = usual(directory, (f"e{HOSTILE}", f"t{HOSTILE}", f"u{HOSTILE}"))
    story.tell(71, "warning", reason=HOSTILE)
    for index, event in enumerate(story.events):
        if event.kind in ("progress", "endpoint"):
            story.tell(event.time - story.events[0].time, event.kind, event.name, event.state, HOSTILE, **event.data)
            story.events[index] = story.events.pop()
    first = story.plan.tasks[0]
    story.end(71, first.name, Outcome.PASSED, Metric(HOSTILE, 0.5, 0.1, 7), *(Metric(f"{i}{HOSTILE}", 0.5) for i in range(9)))
    story.end(71, story.plan.tasks[1].name, Outcome.FAILED, reason=HOSTILE)
    folder = directory / "tasks" / "001-u"
    folder.mkdir(parents=True)
    (folder / "output.log").write_bytes(HOSTILE.encode("utf-8", "surrogatepass") * 3 + b"\xff\xfe\n")
    (directory / "config.yaml").write_text(HOSTILE.replace("\ud800", ""))
    values = ", ".join(f'"{name}": {json.dumps(HOSTILE)}' for name in ("evalx", "python", "platform", "git_commit", "config_sha256"))
    (directory / "manifest.json").write_text(f'{{{values}, "plugins": [{{"name": {json.dumps(HOSTILE)}}}, 7]}}')
    return story


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    data = hostile_story(tmp_path).data(HOSTILE, left=(Left(HOSTILE, HOSTILE, HOSTILE, HOSTILE),), notes=(HOSTILE,))
    text = render(data)
    page = Page(text)
    assert not page.unbalanced and not page.open
    assert {tag for tag, _ in page.elements} == {
        tag for tag, _ in Page(render(usual(tmp_path).data(left=data.left, notes=("n",)))).elements
    }
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert page.text.count("{{ 7 * 191 }}") > 20 and "1337" not in page.text
    assert "owned\x07" not in text and "red" in page.text


def test_secrets_of_the_environment_are_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary-5up3r/s3cr3t&more"
    monkeypatch.setenv("LEPTON_TOKEN", canary)
    story = usual(tmp_path).tell(72, "warning", reason=f"GET /?key={quote(canary, safe='')} with Bearer {canary}")
    (tmp_path / "tasks" / "001-capitals").mkdir(parents=True)
    (tmp_path / "tasks" / "001-capitals" / "output.log").write_text(f"Authorization: {canary}\n")
    (tmp_path / "config.yaml").write_text(f"key: {canary}\nencoded: {base64.b64encode(canary.encode()).decode()}\n")
    text = render(story.data())
    for form in (canary, canary.replace("&", "&amp;"), quote(canary, safe=""), base64.b64encode(canary.encode()).decode().rstrip("=")):
        assert form not in text
    assert Page(text).text.count("<LEPTON_TOKEN>") == 5


@pytest.mark.parametrize("condition", ["running", "interrupted", "unfinished"])
def test_a_run_that_is_not_over_says_so(condition: str) -> None:
    story = usual()
    del story.events[12:]
    story.results.clear()
    said = Page(render(story.data(condition))).words
    assert {"running": "still going on", "interrupted": "was interrupted", "unfinished": "was not over"}[condition] in said
    assert "No task is over yet" in said and "nothing left alive" not in said


def test_a_run_of_which_nothing_is_known_yet() -> None:
    page = Page(render(Story([], []).data("interrupted")))
    assert "Nothing has happened yet" in page.words and not page.unbalanced


def test_what_may_be_alive_is_told_with_the_command() -> None:
    said = Page(render(usual().data("failed", left=(Left("endpoint", "r-e0", "leak_suspected", "still there"),)))).words
    assert "r-e0 (endpoint, leak suspected): still there" in said and "evalx cleanup k3fexample" in said


def test_many_failures_of_one_kind_are_told_once(tmp_path: Path) -> None:
    names = [f"t{index}" for index in range(40)]
    story = Story(
        [EndpointSpec("e", 0, "vllm", "m")], [TaskSpec(name, index, "command", "e") for index, name in enumerate(names)], tmp_path
    )
    for name in names[:30]:
        story.end(5, name, Outcome.FAILED, reason="exit code 1")
    story.tell(6, "endpoint", "e", "degraded", "it died (hint: give it <more> memory)")
    for name in names[30:]:
        story.end(7, name, Outcome.SKIPPED, reason="endpoint e: it died (hint: give it <more> memory)")
    page = Page(render(story.data("failed")))
    assert "it died Hint: give it <more> memory Never started" in page.words
    assert "task t0 and 29 more" in page.words and "Never started, because it failed: t30, t31" in page.words
    assert sum(attrs.get("class") == "failure" for _, attrs in page.elements) == 2


def test_a_thousand_tasks_are_a_page_that_can_be_read() -> None:
    endpoints = [EndpointSpec(f"task-{index:04d}", index, "vllm", "m") for index in range(1000)]
    tasks = [TaskSpec(spec.name, spec.index, "command", spec.name) for spec in endpoints]
    story = Story(endpoints, tasks)
    for spec in endpoints:
        at = spec.index / 10
        story.tell(at, "endpoint", spec.name, "created").report(at + 1, "endpoint", spec.name, "queueing", "no capacity in the node group")
        story.report(at + 9, "endpoint", spec.name, "starting").tell(at + 60, "endpoint", spec.name, "ready")
        story.tell(at + 60, "task", spec.name, "submitted").tell(at + 61, "task", spec.name, "running")
        story.end(at + 200, spec.name, Outcome.PASSED, Metric("accuracy", 0.5, 0.01, 100), Metric("strict", 0.4, 0.01, 100))
        story.tell(at + 201, "endpoint", spec.name, "deleting").tell(at + 205, "endpoint", spec.name, "gone")
    text = render(story.data())
    assert len(text.encode()) < 4_000_000
    assert text.count('<svg class="lane"') == 2001 and text.count('class="crowd"') == 1
    in_the_open = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert in_the_open.count('<tr class="first">') == 100 and '<svg class="lane"' not in in_the_open


def test_written_for_the_user_alone_and_again_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, render(usual().data()))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and is_report(path)
    path.chmod(0o644)
    write_report(path, f"{MARK} again")
    assert path.read_text() == f"{MARK} again" and stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_report_is_left_alone(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "precious", tmp_path / "target"
    target.write_text(MARK)
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(ConfigError, match="left as it is"):
        write_report(path, MARK)
    assert target.read_text() == MARK and (kind != "file" or path.read_text() == "precious")


def test_folders_are_made_where_they_can_be(tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "folder" / "report.html", MARK)
    assert is_report(tmp_path / "new" / "folder" / "report.html")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", MARK)


@pytest.mark.parametrize(
    "manifest", ["", "7", "[]", "{}", '{"plugins": 7}', '{"evalx": {"a": [1]}, "plugins": "x", "git_commit": NaN}', "[" * 100_000]
)
def test_any_manifest_can_be_shown(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert "</html>" in render(usual(tmp_path).data())


def test_a_flood_is_cut(tmp_path: Path) -> None:
    story = usual(tmp_path).report(71, "task", "capitals", "running", "r" * 1_000_000).tell(72, "warning", reason="w" * 1_000_000)
    story.end(73, "capitals", Outcome.FAILED, reason="f" * 1_000_000)
    (tmp_path / "config.yaml").write_text("c" * 2_000_000)
    assert len(render(story.data())) < 60_000
