"""How a cluster is reached, by what a kubeconfig says; nobody is asked but a program that gives a token."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Passing, Refused
from mayfly.engines.kubernetes.access import Access, access, of_context


def reached(
    place: Path,
    user: dict[str, Any],
    cluster: dict[str, Any] | None = None,
    context: str | None = None,
) -> Access:
    said = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {"name": "c", "cluster": {"server": "http://lab:8080/at/", **(cluster or {})}}
        ],
        "users": [{"name": "u", "user": user}],
    }
    file = place / "kubeconfig"
    file.write_text(json.dumps(said))
    return access(Cluster(kubeconfig=str(file), context=context))


def program(place: Path, script: str) -> dict[str, Any]:
    file = place / "gives-token"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": str(file), "args": ["--key", "secret"]}}


def test_a_token_that_stands_there(tmp_path: Path) -> None:
    found = reached(tmp_path, {"token": "abc"})
    assert found.headers() == {"Authorization": "Bearer abc"}
    assert (found.address, found.prefix) == (("lab", 8080), "/at")
    assert "abc" not in repr(found)


def test_a_token_in_a_file_comes_before_one_that_stands_there(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("younger\n")
    found = reached(tmp_path, {"token": "older", "tokenFile": "token"})
    assert found.headers() == {"Authorization": "Bearer younger"}


def test_a_token_that_is_replaced_in_its_file_is_used(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    found = reached(tmp_path, {"tokenFile": "token"})
    assert found.headers() == {"Authorization": "Bearer first"}
    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").replace(tmp_path / "token")
    assert found.headers() == {"Authorization": "Bearer second"}


def test_a_token_that_is_replaced_in_a_kubeconfig_is_used_once_it_is_there_whole(
    tmp_path: Path,
) -> None:
    found = reached(tmp_path, {"token": "first"})
    file = tmp_path / "kubeconfig"
    whole = file.read_text().replace("first", "the-second")
    for half in ("", whole[: len(whole) // 2], "[]"):
        file.write_text(half)
        assert found.headers() == {"Authorization": "Bearer first"}
    file.write_text(whole)
    assert found.headers() == {"Authorization": "Bearer the-second"}


def replaced_as_it_is_read(file: Path, old: str, new: str) -> threading.Thread:
    """Whoever reads that file next reads the old text, while the new one is there already."""
    file.unlink(missing_ok=True)
    os.mkfifo(file)

    def write() -> None:
        with file.open("w") as pipe:
            other = file.with_name("other")
            other.write_text(new)
            other.replace(file)
            pipe.write(old)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_a_kubeconfig_that_is_replaced_as_it_is_read_is_read_again(tmp_path: Path) -> None:
    found = reached(tmp_path, {"token": "first"})
    assert found.headers() == {"Authorization": "Bearer first"}
    file = tmp_path / "kubeconfig"
    first = file.read_text()
    texts = [first.replace("first", name) for name in ("second", "third", "fourth")]
    writer = replaced_as_it_is_read(file, *texts[:2])
    assert found.headers() == {"Authorization": "Bearer second"}
    writer.join()
    assert found.headers() == {"Authorization": "Bearer third"}
    writer = replaced_as_it_is_read(file, *texts[1:])
    found = access(Cluster(kubeconfig=str(file)))
    writer.join()
    assert found.headers() == {"Authorization": "Bearer fourth"}


def certificate(place: Path) -> bytes:
    """A certificate and its key, as files that replace those of before; the certificate, as DER."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mayfly")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for part, data in (("certificate", made.public_bytes(Encoding.PEM)), ("key", private)):
        (place / "new").write_bytes(data)
        (place / "new").replace(place / part)
    return made.public_bytes(Encoding.DER)


def shown(found: Access, place: Path) -> bytes | None:
    """What a server sees of us that asks for a certificate."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(place / "certificate", place / "key")
    ours.load_verify_locations(place / "certificate")
    ours.verify_mode = ssl.CERT_REQUIRED
    one, other = socket.socketpair()
    seen: list[bytes | None] = []

    def serve() -> None:
        with suppress(OSError), ours.wrap_socket(one, server_side=True) as served:
            seen.append(served.getpeercert(binary_form=True))
            served.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    found.headers()
    assert found.context is not None
    with suppress(OSError), found.context.wrap_socket(other) as ends:
        ends.recv(1)
    thread.join()
    return seen[0] if seen else None


def test_a_certificate_that_is_replaced_is_used_by_the_next_connection(tmp_path: Path) -> None:
    first = certificate(tmp_path)
    user = {"client-certificate": "certificate", "client-key": "key"}
    server = {"server": "https://lab", "insecure-skip-tls-verify": True}
    found = reached(tmp_path, user, server)
    assert shown(found, tmp_path) == first
    second = certificate(tmp_path)
    assert shown(found, tmp_path) == second


def test_a_token_that_a_program_gives_is_asked_for_once_while_it_is_good(tmp_path: Path) -> None:
    told = json.dumps({"status": {"token": "given", "expirationTimestamp": "2999-01-01T00:00:00Z"}})
    found = reached(tmp_path, program(tmp_path, f"echo x >>{tmp_path}/asked; echo '{told}'"))
    for _ in range(2):
        assert found.headers() == {"Authorization": "Bearer given"}
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_program_that_gives_none_is_told_with_its_own_last_word_and_no_argument(
    tmp_path: Path,
) -> None:
    found = reached(tmp_path, program(tmp_path, "echo 'your login is over' >&2; exit 3"))
    with pytest.raises(
        Passing, match="gives no token for the cluster: your login is over"
    ) as caught:
        found.headers()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "cluster", "key"),
    [
        ({"as": "admin"}, {}, "as"),
        ({"username": "me", "password": "x"}, {}, "username"),
        ({}, {"proxy-url": "http://proxy"}, "proxy-url"),
        ({}, {"tls-server-name": "other"}, "tls-server-name"),
    ],
)
def test_what_is_not_supported_is_refused_not_passed_over(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], key: str
) -> None:
    with pytest.raises(Refused, match=f"says {key}, which is not supported"):
        reached(tmp_path, user, cluster)


def test_a_context_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="none of contexts called 'other'; there are: lab"):
        reached(tmp_path, {}, context="other")


def test_several_files_are_one_in_which_the_first_of_a_name_counts(tmp_path: Path) -> None:
    """As kubectl has it: contexts, clusters and users in files of their own, paths beside each."""

    def file(name: str, **said: Any) -> str:
        place = tmp_path / name
        place.mkdir()
        (place / "token").write_text(f"of-{name}\n")
        (place / "config").write_text(json.dumps(said))
        return str(place / "config")

    def cluster(server: str) -> list[dict[str, Any]]:
        return [{"name": "c", "cluster": {"server": server}}]

    user = [{"name": "u", "user": {"tokenFile": "token"}}]
    named = {"cluster": "c", "user": "u"}
    context = [{"name": "lab", "context": {**named, "namespace": "ci"}}]
    other = [{"name": "lab", "context": {**named, "namespace": "other"}}]
    files = [
        str(tmp_path / "none"),
        file("one", clusters=cluster("http://first:1")),
        file("two", contexts=context, clusters=cluster("http://second:2")),
        file("three", contexts=other, users=user),
    ]
    found, namespace = of_context("lab", {"KUBECONFIG": ":".join(files)})
    assert (found.server, namespace, found.token()) == ("http://first:1", "ci", "of-three")
    with pytest.raises(
        Refused, match=r"one/config:.*has none of contexts called 'x'; there are: lab$"
    ):
        of_context("x", {"KUBECONFIG": ":".join(files)})
