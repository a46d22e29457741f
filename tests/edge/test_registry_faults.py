"""What ``docker pull`` says of a failure, as one sentence with the next step."""

from __future__ import annotations

import pytest

from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.engines.docker.registry_faults import registry, unfetched

NAME = "registry.lab:5000/ci/agent:1"
DAEMON = "Error response from daemon: "


# What docker 20.10.24 and 28.2.2 say, but for Docker Hub's and those below it, which were not tried.
@pytest.mark.parametrize(
    ("said", "family", "tells"),
    [
        (
            f'{DAEMON}Get "http://r.lab:5000/v2/": dial tcp 10.0.0.9:5000: connect: connection refused\n',
            Passing,
            "its registry registry.lab:5000 is not reached",
        ),
        (
            f'{DAEMON}Get "https://r.lab/v2/": dial tcp: lookup r.lab on 10.0.0.53:53: no such host',
            Passing,
            "is not reached",
        ),
        (
            f"{DAEMON}manifest for {NAME} not found: manifest unknown: manifest unknown",
            Refused,
            "its registry does not have it",
        ),
        (
            f'{DAEMON}Head "http://registry.lab:5000/v2/ci/agent/manifests/1": no basic auth credentials',
            Refused,
            "run `docker login registry.lab:5000`",
        ),
        (
            f'{DAEMON}Get "https://registry.lab:5000/v2/": http: server gave HTTP response to HTTPS client',
            Refused,
            "insecure-registries",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            Passing,
            "no Engine answers",
        ),
        ("invalid reference format", Refused, "no name of an image"),
        (  # Docker Hub
            f"{DAEMON}pull access denied for ci/agent, repository does not exist or may require login",
            Refused,
            "no such repository, or this login may not read it",
        ),
        (f"{DAEMON}toomanyrequests: You have reached your pull rate limit", Passing, "too many requests"),
        (
            f"{DAEMON}no matching manifest for linux/arm64/v8 in the manifest list entries",
            Refused,
            "this machine's architecture",
        ),
        (f'{DAEMON}Get "https://r/v2/": x509: certificate signed by unknown authority', Refused, "certs.d"),
        ("what nobody has heard of", Passing, "what nobody has heard of; pull again"),
        ("", Passing, "docker ended without a word"),
    ],
)  # fmt: skip
def test_a_failure_is_one_sentence_of_its_family(
    said: str, family: type[Fault], tells: str
) -> None:
    fault = unfetched(NAME, said)
    assert type(fault) is family
    assert str(fault).startswith(f"image {NAME} was not fetched: ")
    assert tells in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (NAME, "registry.lab:5000"),
        ("localhost/agent", "localhost"),
        ("ghcr.io/ci/agent:1", "ghcr.io"),
        ("ci/agent:1", "docker.io"),
        ("agent", "docker.io"),
    ],
)
def test_the_registry_is_told_from_the_name(reference: str, expected: str) -> None:
    assert registry(reference) == expected
