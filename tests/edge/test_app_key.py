"""An App's key: what it signs, openssl verifies; keys of both forms; nothing of a key is shown."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mayfly.edge import app_key
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Refused


def openssl(*words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True).stdout


@pytest.fixture(scope="module", params=["-traditional", None], ids=["PKCS #1", "PKCS #8"])
def pem(request: pytest.FixtureRequest) -> bytes:
    form = [request.param] if request.param else []
    return openssl("genrsa", *form, "2048")


def test_openssl_verifies_what_is_signed_here(pem: bytes, tmp_path: Path) -> None:
    key = app_key.read_key(Secret(pem.decode()), "the key")
    signed, _, signature = key.token({"iss": "4711"}).reveal().rpartition(".")
    (tmp_path / "public").write_bytes(openssl("rsa", "-pubout", stdin=pem))
    (tmp_path / "signature").write_bytes(base64.urlsafe_b64decode(signature + "=="))
    said = openssl(
        "dgst",
        "-sha256",
        "-verify",
        str(tmp_path / "public"),
        "-signature",
        str(tmp_path / "signature"),
        stdin=signed.encode(),
    )
    assert b"Verified OK" in said


def test_a_token_has_its_claims_in_the_middle(pem: bytes) -> None:
    key = app_key.read_key(Secret(pem.decode()), "the key")
    head, claims, _ = key.token({"iss": "4711"}).reveal().split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "RS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims + "==")) == {"iss": "4711"}


def test_a_key_shows_nothing_of_itself(pem: bytes) -> None:
    key = app_key.read_key(Secret(pem.decode()), "the key")
    assert str(key._key.private_numbers().d) not in repr(key)
    assert repr(key) == "AppKey(****)"


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
        app_key.read_key(Secret(text), "the key")


def test_a_small_key_is_refused() -> None:
    small = openssl("genrsa", "-traditional", "1024").decode()
    with pytest.raises(Refused, match="1024 bits"):
        app_key.read_key(Secret(small), "the key")


def test_a_key_of_another_kind_is_refused() -> None:
    other = openssl("genpkey", "-algorithm", "ed25519").decode()
    with pytest.raises(Refused, match="the key holds no RSA private key"):
        app_key.read_key(Secret(other), "the key")


@pytest.mark.parametrize("form", ["-traditional", None], ids=["PKCS #1", "PKCS #8"])
def test_a_key_behind_a_passphrase_is_refused(pem: bytes, form: str | None) -> None:
    words = [form] if form else []
    shut = openssl("rsa", "-aes128", "-passout", "pass:word", *words, stdin=pem).decode()
    with pytest.raises(Refused, match="the key holds a key behind a passphrase"):
        app_key.read_key(Secret(shut), "the key")


def test_a_key_is_found_behind_other_text(pem: bytes) -> None:
    assert app_key.read_key(Secret("Bag Attributes\n" + pem.decode()), "the key")


def test_without_the_library_one_sentence_says_what_to_install(
    pem: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app_key.missing() is None
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(Refused, match=re.escape("-m pip install 'cryptography>=44'`")):
        app_key.read_key(Secret(pem.decode()), "the key")


def test_the_library_is_not_loaded_before_a_key_is_read() -> None:
    script = (
        "import sys, mayfly.cli.app, mayfly.cli.verbs_config, mayfly.service.daemon\n"
        "import mayfly.providers.github.provider\n"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
