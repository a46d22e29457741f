"""What the configuration may say of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.edge.config import ConfigError
from mayfly.providers.configuration import load

POOL = "[[pool]]\nname = 'a'\n"


def loaded(tmp_path: Path, host: str) -> tuple[str | None, str | None, tuple[str, ...]]:
    file = tmp_path / "config.toml"
    file.write_text(f"[host]\n{host}\n{POOL}")
    found = load(file, environ={}).config.host
    return found.web, found.web_user_header, found.web_trusted_proxies


@pytest.mark.parametrize(
    "where", ["127.0.0.1:9788", "[::1]:9788", "localhost:1", "/run/mayfly/web.sock"]
)
def test_the_page_is_where_only_this_host_connects(tmp_path: Path, where: str) -> None:
    assert loaded(tmp_path, f"web = '{where}'") == (where, None, ())


def test_a_proxy_names_the_user(tmp_path: Path) -> None:
    host = """
web = "0.0.0.0:9788"
web_user_header = "X-Remote-User"
web_trusted_proxies = ["www-data", "10.0.0.7", "fd00::/64"]
"""
    assert loaded(tmp_path, host) == (
        "0.0.0.0:9788", "X-Remote-User", ("www-data", "10.0.0.7", "fd00::/64"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("web = '0.0.0.0:9788'", "is open to the network"),
        ("web = '9788'", "must be an IP address and a port"),
        ("web = 'gpu.lab:9788'", "must be an IP address and a port"),
        ("web = '127.0.0.1:0'", "must be an IP address and a port"),
        (f"web = '/{'x' * 120}'", "longer than a socket's path"),
        ("metrics = '127.0.0.1:9'\nweb = '127.0.0.1:9'", "another port"),
        ("web = '127.0.0.1:9'\nweb_user_header = 'X-User'", "is believed of nobody"),
        ("web = '127.0.0.1:9'\nweb_user_header = 'Cookie'", "every browser sends"),
        ("web_boxes = { b = 'http://b' }", "is of no use without web"),
        ("web_boxes = { 'a b' = 'http://b' }", "is no name of a box"),
        ("web_boxes = { b = 'b.lab' }", "must be the address of its page"),
        ("web_boxes = { b = 'javascript:alert(1)' }", "must be the address of its page"),
        ("web_boxes = { b = 'https://ann:x@b' }", "must be the address of its page"),
        ("web_boxes = { b = 'https://b/?x=1' }", "must be the address of its page"),
        ("web_boxes = { b = 'https://b:99999' }", "must be the address of its page"),
        ("docs = 'docs.lab'", "must be the address of a site"),
        ("docs = 'javascript:alert(1)'", "must be the address of a site"),
        ("web_boxes = { b = 1 }", "must be the address of its page"),
        ("web = '127.0.0.1:9'\nweb_user_header = 'X User'", "must be a header's name"),
        ("web_trusted_proxies = ['www-data']", "is of no use without web"),
        ("web = '127.0.0.1:9'\nweb_trusted_proxies = ['127.0.0.1']", "every user of this host"),
        ("web = '127.0.0.1:9'\nweb_trusted_proxies = ['0.0.0.0/0']", "every user of this host"),
        ("web = '127.0.0.1:9'\nweb_trusted_proxies = ['::1']", "every user of this host"),
        ("web = '127.0.0.1:9'\nweb_trusted_proxies = ['localhost']", "must be the user"),
    ],
)
def test_what_would_open_it_to_others_is_a_mistake(tmp_path: Path, host: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        loaded(tmp_path, host)
