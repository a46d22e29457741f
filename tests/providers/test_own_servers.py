"""Servers of one's own: behind a proxy, by an authority that nobody else knows, for every service alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import PoolSpec, Severity
from mayfly.providers import Provider
from mayfly.providers.installed import load, packages
from tests.fakes import authority
from tests.fakes.azure import FakeAzure
from tests.fakes.gitea import FakeGitea
from tests.fakes.github import FakeGitHub, Token
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.http import Fake
from tests.fakes.proxy import FakeProxy
from tests.providers.contract import HOST, HOST_ID, pool, secret_file

NAME = "service.lab"  # the proxy alone knows it


def github() -> tuple[Fake, str, dict[str, Any]]:
    fake = FakeGitHub()
    fake.tokens["ghp_good"] = Token()
    return fake, "ghp_good", {"url": "/acme"}


def gitlab() -> tuple[Fake, str, dict[str, Any]]:
    fake = FakeGitLab()
    token = fake.person("create_runner", "manage_runner", "read_api")
    return fake, token, {"url": "/ourlab"}


def gitea() -> tuple[Fake, str, dict[str, Any]]:
    fake = FakeGitea()
    fake.root_url = f"https://{NAME}"
    return fake, fake.person("write:organization"), {"url": "/ourlab"}


def azure() -> tuple[Fake, str, dict[str, Any]]:
    return FakeAzure(), "pat-good", {"url": "/lab", "agent_pool": "gpu"}


SERVERS: dict[str, Callable[[], tuple[Fake, str, dict[str, Any]]]] = {
    "azure": azure,
    "gitea": gitea,
    "github": github,
    "gitlab": gitlab,
}


@dataclass
class Site:
    """A server over TLS, reached by a proxy alone."""

    fake: Fake
    proxy: FakeProxy
    spec: PoolSpec
    home: Path

    def provider(self, **changed: Any) -> Provider:
        return load(replace(self.spec, **changed), HOST, HOST_ID, self.home)

    def said(self, provider: Provider) -> list[str]:
        """What the doctor is told that is worse than a remark."""
        return [one.text for one in provider.check() if one.severity is not Severity.INFO]


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    fake, token, keys = SERVERS[request.param]()
    with fake, FakeProxy() as proxy:
        assert fake._server is not None
        fake._server.socket = authority.made(tmp_path / "ca.pem", NAME).wrap_socket(
            fake._server.socket, server_side=True
        )
        proxy.names[NAME] = "127.0.0.1"
        keys["url"] = f"https://{NAME}:{fake.port}{keys['url']}"
        if isinstance(fake, FakeGitea):
            fake.root_url = f"https://{NAME}:{fake.port}"
        reference = secret_file(tmp_path, "token", token)
        spec = replace(
            pool(request.param, token=reference, **keys),
            proxy=proxy.url,
            ca=str(tmp_path / "ca.pem"),
        )
        yield Site(fake, proxy, spec, tmp_path)


def test_every_service_is_looked_at() -> None:
    assert SERVERS.keys() == {name for name, one in packages().items() if not one.embedded}


def test_all_calls_go_through_the_proxy_and_trust_the_pool_s_authority(site: Site) -> None:
    provider = site.provider()
    assert site.said(provider) == []
    assert provider.roster() is not None
    assert set(site.proxy.asked) == {f"{NAME}:{site.fake.port}"}


def test_what_is_bad_about_the_proxy_is_one_sentence_of_the_doctor_s(site: Site) -> None:
    def told(**changed: Any) -> str:
        (sentence,) = site.said(site.provider(**changed))
        return sentence

    assert "the proxy http://127.0.0.1:9 cannot be reached" in told(proxy="http://127.0.0.1:9")
    site.proxy.answer = (403, b"<html>no</html>")
    assert f"the proxy {site.proxy.url} does not let us through" in told()
    site.proxy.answer = (502, b"<html>no</html>")
    assert f"the proxy {site.proxy.url} does not reach" in told()
    site.proxy.answer, site.proxy.login = None, "alice:sesame"
    assert f"the proxy {site.proxy.url} wants a login" in told()


def test_an_authority_that_nobody_named_is_told_with_the_key_for_it(site: Site) -> None:
    provider = site.provider(ca=None)
    (sentence,) = site.said(provider)
    assert "a certificate that is not trusted" in sentence
    assert "in `ca`" in sentence
    assert [one.untrusted for one in provider.check() if one.severity is Severity.ERROR] == [True]
