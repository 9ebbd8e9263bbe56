"""The report in a real browser: it renders, asks nobody for anything, runs nothing, fits a phone, can be read in light and dark."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.browser.chromium import EXECUTABLE, Chromium
from tests.unit.report.samples import HOSTILE, Story, usual
from tests.unit.report.test_page import hostile_story

from evalx.compare.stats import Score, interval
from evalx.model import EndpointSpec, Metric, Outcome, TaskSpec
from evalx.report import Left, render

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed (apt-get install --no-install-recommends chromium)"),
]

CONTRAST = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, style = getComputedStyle(e);
    if (!walker.currentNode.data.trim() || e.closest('title,.hidden')) continue;
    const [a, b] = [light(parts(e.closest('svg') ? style.fill : style.color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) found.push([ratio.toFixed(2), e.className.baseVal ?? e.className, walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
})()
"""
"""Texts whose contrast with what is behind them is below 4.5, which WCAG 2 AA asks for."""


class Site:
    """A server of one page, which remembers what it was asked for."""

    def __init__(self) -> None:
        self.page = ""
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(site.page.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/report.html"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def rich() -> Story:
    """The usual run, and in it long names, other scales, more scores than are shown."""
    story = usual(names=("meta-llama/Llama-3.1-405B-Instruct-FP8", "suite.benchmark_with_a_very_long_name_indeed" * 2, "capitals"))
    first = story.plan.tasks[0].name
    metrics = [
        Metric(f"group:{'abstract_algebra_' * 4}{index}", value, 0.03, 100) for index, value in enumerate((0.5, 0.0, 1.0, 77.1, 812.0))
    ]
    return story.end(70, first, Outcome.PASSED, *metrics, *(Metric(f"subject {index}", 0.5) for index in range(9)))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_it_can_be_read_and_asks_nobody(chromium: Chromium, site: Site, width: int, dark: bool) -> None:
    left = tuple(Left("endpoint", f"evalx-k3fexample-e{index}-{'x' * 60}", "leak_suspected", "still there") for index in range(3))
    site.page = render(rich().data("partial", left=left, notes=("a note",), exit_code=7))
    chromium.open(site.url, width=width, dark=dark)
    chromium.value("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert chromium.value("document.documentElement.scrollWidth") == width
    assert chromium.value(CONTRAST) == []
    assert chromium.screenshot().startswith(b"\x89PNG")
    assert chromium.complaints() == []
    assert chromium.requests() == [site.url] and site.asked == ["/report.html"]
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == ("rgb(16, 20, 27)" if dark else "rgb(245, 246, 248)")


def test_pictures_are_where_they_belong(chromium: Chromium, site: Site) -> None:
    site.page = render(usual().data())
    for width in (360, 1100):
        chromium.open(site.url, width=width)
        boxes = chromium.value(
            "[...document.querySelectorAll('svg.lane rect, svg.ci circle')].map(e => { const b = e.getBoundingClientRect();"
            " const s = e.closest('svg').getBoundingClientRect(); return [b.left - s.left, s.right - b.right, s.width, b.width] })"
        )
        assert len(boxes) > 10
        assert all(left > -6 and right > -6 and whole > 200 and own > 0 for left, right, whole, own in boxes)
        ready = chromium.value(
            "(() => { const b = document.querySelector('svg.lane rect.ready').getBoundingClientRect();"
            " return b.width / document.querySelector('svg.lane').getBoundingClientRect().width })()"
        )
        assert ready == pytest.approx(34 / 71, abs=0.01)


def test_hostile_text_is_shown_and_does_nothing(chromium: Chromium, site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    story = hostile_story(tmp_path_factory.mktemp("run"))
    site.page = render(story.data(HOSTILE, left=(Left(HOSTILE, HOSTILE, HOSTILE, HOSTILE),), notes=(HOSTILE,)))
    chromium.open(site.url, width=360)
    assert "onerror" in chromium.value("document.title"), "the run's condition is hostile, and part of the title"
    assert "<script>document.title='owned'" in chromium.value("document.body.innerText")
    assert chromium.value("document.querySelectorAll('script, img, a:not([href^=\"#\"]), [onload], [onerror]').length") == 0
    assert chromium.value("document.documentElement.scrollWidth") == 360
    assert chromium.complaints() == [] and chromium.requests() == [site.url] and site.asked == ["/report.html"]


def test_the_policy_stops_what_slipped_through(chromium: Chromium, site: Site) -> None:
    """The second line of defence, on its own: markup that no gate of the page would let in."""
    slipped = "<script>document.title = 'owned'</script><img src='/owned'><p style='color: red' id='p'>x</p><style>p { color: red }</style>"
    site.page = render(usual().data()).replace("<main>", f"<main>{slipped}")
    chromium.open(site.url)
    assert chromium.value("document.title").startswith("k3fexample")
    assert chromium.value("getComputedStyle(document.getElementById('p')).color") == "rgb(27, 34, 48)"
    assert site.asked == ["/report.html"] and len(chromium.complaints()) >= 4


def test_what_a_screen_reader_is_told(chromium: Chromium, site: Site) -> None:
    site.page = render(usual().data())
    chromium.open(site.url)
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    pictures = [name for role, name in named if role in ("image", "img", "SvgRoot")]
    assert pictures and all(pictures)
    ends = interval(Score(0.75, 0.05, 100)) or (0.0, 0.0)
    assert f"0.7500, 95% interval {ends[0]:.4f} to {ends[1]:.4f}" in pictures
    assert any("queueing 10s" in name and "ready 34s" in name for name in pictures)
    assert [name.lower() for role, name in named if role == "heading"][:3] == ["evalx report run k3fexample", "scores", "failures"]
    for role, name in (("columnheader", "Task"), ("columnheader", "Metric"), ("rowheader", "arithmetic"), ("navigation", "Sections")):
        assert (role, name) in named


def test_it_prints(chromium: Chromium, site: Site) -> None:
    site.page = render(rich().data())
    chromium.open(site.url, dark=True)
    assert chromium.pdf().startswith(b"%PDF")
    seen = "document.querySelector('details table').checkVisibility()"
    assert not chromium.value(seen)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.value(seen), "what is folded is printed too"
    chromium.call("Emulation.setEmulatedMedia", media="")


def test_a_thousand_tasks(chromium: Chromium, site: Site) -> None:
    endpoint = EndpointSpec("shared", 0, "vllm", "m")
    story = Story([endpoint], [TaskSpec(f"task-{index}", index, "command", "shared") for index in range(1000)])
    story.tell(0, "endpoint", "shared", "created").tell(30, "endpoint", "shared", "ready")
    for task in story.plan.tasks:
        story.tell(30 + task.index, "task", task.name, "submitted").end(
            45 + task.index, task.name, Outcome.PASSED, Metric("accuracy", 0.5, 0.1, 9)
        )
    site.page = render(story.data())
    chromium.open(site.url, width=360)
    assert chromium.value("document.documentElement.scrollWidth") == 360
    assert chromium.value("document.querySelectorAll('svg.crowd path').length") >= 2
    assert chromium.value("document.documentElement.scrollHeight") < 15_000
    assert chromium.complaints() == []
