"""RS256: what is signed here, openssl verifies; keys of both forms; nothing of a key is shown."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from mayfly.edge import rs256
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Refused


def openssl(*words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True).stdout


@pytest.fixture(scope="module", params=["-traditional", None], ids=["PKCS #1", "PKCS #8"])
def pem(request: pytest.FixtureRequest) -> bytes:
    form = [request.param] if request.param else []
    return openssl("genrsa", *form, "2048")


def test_openssl_verifies_what_is_signed_here(pem: bytes, tmp_path: Path) -> None:
    key = rs256.read_key(Secret(pem.decode()), "the key")
    (tmp_path / "public").write_bytes(openssl("rsa", "-pubout", stdin=pem))
    (tmp_path / "signature").write_bytes(rs256.sign(key, b"so be it"))
    said = openssl(
        "dgst",
        "-sha256",
        "-verify",
        str(tmp_path / "public"),
        "-signature",
        str(tmp_path / "signature"),
        stdin=b"so be it",
    )
    assert b"Verified OK" in said


def test_a_token_has_its_claims_in_the_middle(pem: bytes) -> None:
    key = rs256.read_key(Secret(pem.decode()), "the key")
    head, claims, _ = rs256.token(key, {"iss": "4711"}).reveal().split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "RS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims + "==")) == {"iss": "4711"}


def test_a_key_shows_nothing_of_itself(pem: bytes) -> None:
    key = rs256.read_key(Secret(pem.decode()), "the key")
    assert str(key.private) not in repr(key)
    assert repr(key) == "Key(****)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", "holds no RSA private key"),
        ("-----BEGIN RSA PRIVATE KEY-----\n!!\n-----END RSA PRIVATE KEY-----", "damaged"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----", "damaged"),
        ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", "damaged"),
        (
            "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----",
            "holds no RSA private key",
        ),
    ],
)
def test_what_is_no_key_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(Refused, match=f"the key {words}|the key holds.*{words}"):
        rs256.read_key(Secret(text), "the key")


def test_a_small_key_is_refused() -> None:
    small = openssl("genrsa", "-traditional", "1024").decode()
    with pytest.raises(Refused, match="1024 bits"):
        rs256.read_key(Secret(small), "the key")
