"""The documentation as a web site: it is built without a warning, asks nobody for anything, and can be read on a phone and in the dark."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.browser.chromium import EXECUTABLE, Chromium
from tests.docs.markdown import DOCS

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("site"),
    pytest.mark.skipif(importlib.util.find_spec("furo") is None, reason="the site's generator is not installed (evalx[docs])"),
]
in_a_browser = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed (apt-get install --no-install-recommends chromium)")

BUILD = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
PAGES = [str(page.relative_to(DOCS).with_suffix(".html")) for page in sorted(DOCS.rglob("*.md"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([*BUILD, "-d", f"{folder}/doctrees", DOCS, f"{folder}/html"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    """The build fails for a page that no list names; here, that what the lists say has become the navigation."""
    sidebar = (site / "index.html").read_text()
    for page in PAGES:
        assert (site / page).is_file()
        if page != "index.html":
            assert f'href="{page}"' in sidebar, page


def test_code_has_the_title_of_its_file(site: Path) -> None:
    page = (site / "how-to/gated-model.html").read_text()
    assert re.search(r'class="caption-text">gated\.yaml<', page)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*\bhref="(?:https?:)?//|@import|url\(["']?(?:https?:)?//"""
    )
    assert [(file.name, found[0]) for file in site.rglob("*.html") for found in [loads.search(file.read_text())] if found] == []
    assert [file.name for file in site.rglob("*.css") if re.search(r"""url\(["']?(?:https?:)?//""", file.read_text())] == []


def test_a_page_that_is_in_no_list_and_a_broken_link_stop_the_build(tmp_path: Path) -> None:
    """With a small site of the same configuration."""
    package = tmp_path / "core/evalx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1"\n')
    docs = tmp_path / "docs"
    (docs / "_static").mkdir(parents=True)
    (docs / "conf.py").write_text((DOCS / "conf.py").read_text())
    (docs / "_static/evalx.svg").write_text((DOCS / "_static/evalx.svg").read_text())
    (docs / "index.md").write_text("# Top\n\n## Part\n\n- [A](a.md)\n")
    (docs / "a.md").write_text("# A\n\n[no such heading](a.md#nowhere)\n")
    (docs / "b.md").write_text("# B\n")
    done = subprocess.run([*BUILD, docs, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "b.md: WARNING: document isn't included in any toctree" in done.stderr
    assert "nowhere" in done.stderr


def elsewhere(chromium: Chromium, address: str) -> list[str]:
    """What was asked of others."""
    return [url for url in chromium.requests() if url.startswith(("http:", "https:")) and not url.startswith(address)]


@in_a_browser
@pytest.mark.parametrize(("width", "dark"), [(375, True), (1280, False)])
def test_it_can_be_read(chromium: Chromium, address: str, width: int, dark: bool) -> None:
    for page in (
        "index.html",
        "tutorial.html",
        "architecture.html",
        "how-to/ci.html",
        "reference/configuration.html",
        "reference/cli.html",
    ):
        chromium.open("about:blank")  # what the page before still has to say is not this one's
        chromium.open(f"{address}/{page}", width=width, dark=dark)
        assert chromium.value("document.documentElement.scrollWidth") <= width, page
        assert chromium.complaints() == [], page
        assert elsewhere(chromium, address) == [], page
        lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, v) => sum + +v, 0)"
        assert (chromium.value(lightness) < 200) == dark, page


@in_a_browser
@pytest.mark.parametrize("served", [True, False], ids=["served", "from files"])
def test_the_search_finds_a_page(chromium: Chromium, address: str, site: Path, served: bool) -> None:
    place = address if served else site.as_uri()
    chromium.open(f"{place}/search.html?q=preempted")
    found = """new Promise(done => {
      const look = () => {
        const links = [...document.querySelectorAll('.search a')];
        links.length ? done(links.map(link => link.textContent)) : setTimeout(look, 50);
      };
      look();
    })"""
    answer = chromium.call("Runtime.evaluate", expression=found, returnByValue=True, awaitPromise=True)
    assert "When something goes wrong on Lepton" in answer["result"]["value"]
    assert elsewhere(chromium, address) == []
