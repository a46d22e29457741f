"""The private key of an App, which signs a JWT (RS256) with the library ``cryptography``.

The library is an extra, since a pool with a token has no use for it; it is imported when a key is read and at
no other time. A key shows nothing of itself, and signs only a JWT.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mayfly.edge.credentials import Secret
from mayfly.edge.extras import extra_line
from mayfly.edge.faults import Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SMALLEST = 2048  # bits
GIVE = "give the .pem file that GitHub made"
_RSA = re.compile("-----BEGIN (?:RSA |ENCRYPTED )?PRIVATE KEY-----")


def missing() -> str | None:
    """What to install where the library is not there, in one sentence; ``None`` where it is."""
    if find_spec("cryptography") is not None:
        return None
    return (
        "a GitHub App's key needs the Python library cryptography, beside Mayfly: "
        f"`{extra_line('app')}`"
    )


class AppKey:
    """An RSA key; its ``repr`` shows nothing."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        """Nothing of it."""
        return "AppKey(****)"

    def token(self, claims: Mapping[str, object]) -> Secret:
        """A JWT with those claims."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        head = _text(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
        body = f"{head}.{_text(json.dumps(claims).encode())}"
        return Secret(f"{body}.{_text(self._key.sign(body.encode(), PKCS1v15(), SHA256()))}")


def read_key(pem: Secret, what: str) -> AppKey:
    """The key in a PEM text, PKCS #1 (as GitHub gives it) or PKCS #8; ``Refused`` names ``what``."""
    if sentence := missing():
        raise Refused(sentence)
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    if _RSA.search(pem.reveal()) is None:
        raise Refused(f"{what} holds no RSA private key in PEM form: {GIVE}")
    try:
        key = load_pem_private_key(pem.reveal().encode(), None)
    except TypeError:
        raise Refused(f"{what} holds a key behind a passphrase: {GIVE}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Refused(f"{what} holds a damaged private key: {GIVE}") from None
    if not isinstance(key, RSAPrivateKey):
        raise Refused(f"{what} holds no RSA private key in PEM form: {GIVE}")
    if key.key_size < SMALLEST:
        raise Refused(f"{what} holds a key of {key.key_size} bits; {SMALLEST} are needed")
    return AppKey(key)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
