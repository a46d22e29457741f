"""The site of `make docs` as a reader has it, from a server and from a folder: no other host is asked."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness import until
from tests.pages import ROOT
from tests.real.page.chromium import PROGRAM, Chromium

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROGRAM is None, reason="there is no chromium"),
]
FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source|video|object)\b[^>]*?\b(?:src|href|data|srcset)=\"([^\"]*)\""
)


class Quiet(SimpleHTTPRequestHandler):
    """A static host, as any."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two releases and what comes after them."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        ["env", f"SITE={folder}", "VERSION=0.9", ROOT / "scripts/docs"], check=True, cwd=ROOT
    )
    for name in ("0.10", "dev"):
        shutil.copytree(folder / "0.9", folder / name)
    # As the second build of a site would; its library is in the site's own environment.
    subprocess.run([sys.executable, ROOT / "docs-site/versions.py", folder], check=True, cwd=folder)
    return folder


@pytest.fixture(params=["from a server", "from a folder"])
def top(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    """The address of the site."""
    if request.param == "from a folder":
        yield site.as_uri()
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def test_no_page_has_anything_of_another_host_in_it(site: Path) -> None:
    pages = sorted((site / "0.9").rglob("*.html"))
    assert len(pages) > 100
    fetched = {(page.name, place) for page in pages for place in FETCHED.findall(page.read_text())}
    assert len(fetched) > 500
    assert not [one for one in fetched if urlsplit(one[1]).netloc]
    for script in (site / "0.9/assets/javascripts").glob("bundle.*.js"):
        assert "unpkg.com" not in script.read_text()


VERSIONS = "[...document.querySelectorAll('.md-version__link')]"


def test_a_reader_draws_searches_and_chooses_a_version_and_nobody_else_is_asked(top: str) -> None:
    with Chromium() as browser:
        browser.look(1280, 900, dark=True)
        browser.open(f"{top}/index.html")
        browser.shows(".md-version__current", "0.10")
        assert browser.js("document.body.dataset.mdColorScheme") == "slate"
        browser.open(f"{top}/0.9/architecture.html")
        until(
            lambda: (browser.js("document.querySelector('div.mermaid')?.offsetHeight") or 0) > 100,
            "the drawing is drawn",
        )
        browser.shows(".md-version__current", "0.9")
        shown = browser.js(f"{VERSIONS}.map(one => one.textContent.trim())")
        assert shown == ["0.10", "0.9", "dev"]
        browser.js("document.querySelector('.md-search__input').focus()")
        browser.type("standby")
        browser.shows(".md-search-result__list", "standby")
        browser.js(f"{VERSIONS}.find(one => one.textContent.trim() === 'dev').click()")
        until(lambda: "/dev/" in str(browser.js("location.pathname")), "the other one is shown")
        hosts = {urlsplit(address).netloc for address in browser.asked} - {urlsplit(top).netloc, ""}
        assert not hosts


def test_by_day_it_is_light(site: Path) -> None:
    with Chromium() as browser:
        browser.open(f"{site.as_uri()}/0.9/where.html")
        assert browser.js("document.body.dataset.mdColorScheme") == "default"
