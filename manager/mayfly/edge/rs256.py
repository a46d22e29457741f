"""RS256: signing with an RSA key from a PEM file, for the one service that wants it (a GitHub App's JWT).

Our own because the library for it is forty times the size of what else we install, and this is a key read, a
hash and a power. It signs and does nothing else; it is not meant for places where an attacker can time it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Refused

_PEM = re.compile(r"-----BEGIN ((?:RSA )?PRIVATE KEY)-----(.+?)-----END \1-----", re.DOTALL)
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
# RFC 8017, 9.2: the DigestInfo of SHA-256.
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
SMALLEST = 2048  # bits


@dataclass(frozen=True, slots=True)
class Key:
    """An RSA key; its ``repr`` shows nothing."""

    modulus: int
    public: int
    private: int

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Key(****)"


def read_key(pem: Secret, what: str) -> Key:
    """The key in a PEM text, PKCS #1 (as GitHub gives it) or PKCS #8; ``Refused`` names ``what``."""
    match = _PEM.search(pem.reveal())
    if match is None:
        raise Refused(
            f"{what} holds no RSA private key in PEM form: give the .pem file that GitHub made"
        )
    try:
        fields = _integers(
            base64.b64decode("".join(match.group(2).split()), validate=True), match.group(1)
        )
    except (ValueError, IndexError):
        raise Refused(
            f"{what} holds a damaged private key: give the .pem file that GitHub made"
        ) from None
    key = Key(fields[1], fields[2], fields[3])
    if key.modulus.bit_length() < SMALLEST:
        raise Refused(
            f"{what} holds a key of {key.modulus.bit_length()} bits; {SMALLEST} are needed"
        )
    return key


def _integers(der: bytes, kind: str) -> list[int]:
    """The numbers of an RSAPrivateKey: version, modulus, public exponent, private exponent, and more."""
    (tag, content), *_ = _elements(der)
    if tag != _SEQUENCE:
        raise ValueError("no sequence")
    if kind == "PRIVATE KEY":
        inner = [value for mark, value in _elements(content) if mark == _OCTETS]
        return _integers(inner[0], "RSA PRIVATE KEY")
    numbers = [int.from_bytes(value) for mark, value in _elements(content) if mark == _INTEGER]
    if len(numbers) < 4:
        raise ValueError("too few numbers")
    return numbers


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element in turn."""
    at = 0
    while at < len(der):
        tag, size = der[at], der[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(der[at : at + count])
            at += count
        if at + size > len(der):
            raise ValueError("cut short")
        yield tag, der[at : at + size]
        at += size


def sign(key: Key, content: bytes) -> bytes:
    """The signature RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.1)."""
    size = (key.modulus.bit_length() + 7) // 8
    tail = b"\0" + _SHA256 + hashlib.sha256(content).digest()
    padded = b"\0\1" + b"\xff" * (size - 2 - len(tail)) + tail
    number = pow(int.from_bytes(padded), key.private, key.modulus)
    return number.to_bytes(size)


def token(key: Key, claims: Mapping[str, object]) -> Secret:
    """A JWT with those claims."""
    head = _text(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
    body = f"{head}.{_text(json.dumps(claims).encode())}"
    return Secret(f"{body}.{_text(sign(key, body.encode()))}")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
