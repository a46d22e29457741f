"""A proxy on the way to a service: it is used, left out where it has no part, and told of where it is bad."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.web import Web
from tests.fakes import authority
from tests.fakes.http import Answer, Fake
from tests.fakes.proxy import FakeProxy

NOBODY = "127.0.0.1:9"  # discard: nothing listens there


class Service(Fake):
    """One thing."""

    def __init__(self) -> None:
        super().__init__()
        self.route("GET", "/thing", lambda _: Answer(200, {"value": 1}))


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as made:
        yield made


@pytest.fixture
def secure(service: Service, tmp_path: Path) -> str:
    """The service over TLS, by an authority of its own in ``ca.pem``."""
    assert service._server is not None
    listener = service._server.socket
    service._server.socket = authority.made(tmp_path / "ca.pem").wrap_socket(
        listener, server_side=True
    )
    return service.url.replace("http:", "https:")


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as made:
        yield made


def ask(base: str, proxy: str, no_proxy: str | None = None, ca: Path | None = None) -> object:
    asks = Web(
        base,
        "Things",
        'pool "gpu"',
        authorise=lambda: {"X-Token": "hunter2hunter2"},
        proxy=proxy,
        no_proxy=no_proxy,
        ca=str(ca) if ca is not None else None,
    )
    return asks.call("GET", "thing", "look").body


def test_a_call_goes_through_the_proxy(service: Service, proxy: FakeProxy) -> None:
    assert ask(service.url, proxy.url) == {"value": 1}
    assert proxy.asked == [f"127.0.0.1:{service.port}"]


def test_so_does_one_over_tls_whose_authority_is_the_pool_s(
    secure: str, proxy: FakeProxy, tmp_path: Path
) -> None:
    assert ask(secure, proxy.url, ca=tmp_path / "ca.pem") == {"value": 1}
    assert proxy.asked == [secure.removeprefix("https://")]


@pytest.mark.parametrize("exception", ["127.0.0.1", "127.0.0.0/8", "*", "lab.example,127.0.0.1"])
def test_what_no_proxy_names_does_not(service: Service, proxy: FakeProxy, exception: str) -> None:
    assert ask(service.url, proxy.url, exception) == {"value": 1}
    assert proxy.asked == []


def bad(base: str, proxy: str, ca: Path | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        ask(base, proxy, ca=ca)
    assert "hunter2" not in str(caught.value)
    assert 'pool "gpu"' in str(caught.value)
    return caught.value


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("address", "says"),
    [
        (NOBODY, "Connection refused"),
        ("proxy.invalid:3128", "not known"),
    ],
)
def test_one_that_is_not_there_is_told_by_its_address(scheme: str, address: str, says: str) -> None:
    fault = bad(f"{scheme}://service.lab", f"http://{address}")
    assert isinstance(fault, Passing)
    assert f"the proxy http://{address} cannot be reached" in str(fault)
    assert says in str(fault)
    assert "check `proxy`" in str(fault)


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (403, Refused, "does not let us through to Things at service.lab (403)"),
        (502, Passing, "does not reach Things at service.lab (502)"),
        (504, Passing, "a host that only this network knows belongs into `no_proxy`"),
        (501, Refused, "is none, or none for https (it answered 501)"),
    ],
)
def test_one_that_lets_nobody_through_is_told_by_its_answer(
    proxy: FakeProxy, status: int, kind: type[Fault], says: str
) -> None:
    proxy.answer = (status, b"<html>no</html>")
    fault = bad("https://service.lab", proxy.url)
    assert type(fault) is kind
    assert f"the proxy {proxy.url} {says}" in str(fault) or says in str(fault)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_one_that_wants_a_login_is_told_so(proxy: FakeProxy, scheme: str) -> None:
    proxy.login = "alice:hunter2"
    fault = bad(f"{scheme}://service.lab", proxy.url)
    assert isinstance(fault, Refused)
    assert "wants a login" in str(fault)


def test_a_page_in_place_of_the_service_names_the_proxy(proxy: FakeProxy) -> None:
    proxy.answer = (200, b"<html>you are offline</html>")
    fault = bad("http://service.lab", proxy.url)
    assert isinstance(fault, Refused)
    assert f"the proxy {proxy.url} stands there" in str(fault)


def test_one_that_looks_into_tls_is_named_beside_the_certificate(
    proxy: FakeProxy, tmp_path: Path
) -> None:
    proxy.secure = authority.made(tmp_path / "of-the-proxy.pem")
    fault = bad("https://127.0.0.1", proxy.url)
    assert isinstance(fault, Refused)
    assert f"the proxy {proxy.url} may look into what passes" in str(fault)
    assert "in `ca`" in str(fault)


def test_one_that_is_written_as_https_and_is_not_is_told(proxy: FakeProxy) -> None:
    for base in ("http://service.lab", "https://service.lab"):
        fault = bad(base, proxy.url.replace("http:", "https:"))
        assert isinstance(fault, Refused)
        assert "speaks no TLS itself" in str(fault)


def test_one_that_speaks_tls_itself_is_used(service: Service, tmp_path: Path) -> None:
    with FakeProxy() as proxy:
        context: ssl.SSLContext = authority.made(tmp_path / "ca.pem")
        proxy._server.socket = context.wrap_socket(proxy._server.socket, server_side=True)
        address = proxy.url.replace("http:", "https:")
        assert ask(service.url, address, ca=tmp_path / "ca.pem") == {"value": 1}
        assert proxy.asked == [f"127.0.0.1:{service.port}"]


def test_user_and_password_of_the_environment_s_are_not_told(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.login = "alice:sesame"
    monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//alice:hunter2@"))
    monkeypatch.delenv("no_proxy", raising=False)
    asks = Web("https://service.lab", "Things", "pool")
    with pytest.raises(Refused) as caught:
        asks.call("GET", "thing", "look")
    assert proxy.url in str(caught.value)
    assert "alice" not in str(caught.value)
