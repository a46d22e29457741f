"""A client's request, read by one grammar: what could be read in two ways is refused.

The gateway's HTTP library has split it before. Nothing here is put right: a doubled slash, a dot segment, an
encoded slash or a parameter that comes twice is no request of a client of Docker's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from mayfly.core.admission.outcome import Refuse, Refused

TARGET_MOST = 32 * 1024  # characters; filters may be long
VALUES = 20_000  # in a body: each takes a hundred times its bytes
DEEP = 32  # objects and lists in one another; a create has five
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_VERSION = re.compile(r"v(1\.[0-9]{1,3})", re.ASCII)
_TARGET = re.compile(
    r"/[!$&-;=?-Z_a-z~%@\[\]\"^`{|}\\*]*", re.ASCII
)  # no space, no control, no "#"
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Those that a rule may look at; all others go no further than the gateway.
HEADERS = (
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "upgrade",
    "x-registry-auth",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks; ``path`` is decoded and without the API's version."""

    method: str
    path: str
    version: str | None = None  # "1.47"; None: it names none
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # HEADERS alone, in lower case
    body: Mapping[str, Any] | None = None  # its JSON; None: none, or none that is read here
    # Twelve random characters of the gateway's, for what has to be given a name.
    token: str = ""


def request_head(
    method: str, target: str, headers: Iterable[tuple[str, str]], *, token: str = ""
) -> Request | Refuse:
    """The request but its body; ``target`` as the request line has it."""
    try:
        return _head(method, target, headers, token)
    except Refused as refused:
        return refused.refuse


def with_body(request: Request, raw: bytes) -> Request | Refuse:
    """The request with its body, of which `admit.expects` says that it is JSON; empty: it has none."""
    if not raw.strip():
        return request
    try:
        body = read_json(raw)
    except Refused as refused:
        return refused.refuse
    if body is None:
        return request
    if not isinstance(body, dict):
        return Refuse(400, "the body has to be a JSON object")
    return replace(request, body=body)


def read_json(raw: bytes | str) -> Any:
    """The value; `Refused` where two readers could make two values of it."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("what is sent has to be JSON in UTF-8", 400) from None
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        _plain(found, 0, count())
    except (ValueError, RecursionError):
        raise Refused("what is sent is not JSON that can be read", 400) from None
    return found


def quoted(text: str, *, slashes: bool = False) -> str:
    """The text as a part of a path or a query; ``slashes``: they stay as they are."""
    kept = _UNRESERVED | frozenset(b"/:@") if slashes else _UNRESERVED
    return "".join(chr(one) if one in kept else f"%{one:02X}" for one in text.encode())


def target(version: str | None, path: str, query: Mapping[str, str] | None = None) -> str:
    """The path, whose parts are quoted already, with that version of the API and that query."""
    told = "&".join(f"{quoted(key)}={quoted(value)}" for key, value in (query or {}).items())
    return (f"/v{version}" if version else "") + path + (f"?{told}" if told else "")


def _head(method: str, wanted: str, headers: Iterable[tuple[str, str]], token: str) -> Request:
    if method not in METHODS:
        raise Refused("this method is none of the Engine's API", 405)
    if len(wanted) > TARGET_MOST or not _TARGET.fullmatch(wanted):
        raise Refused("the path of the request is none of the Engine's API", 400)
    path, _, query = wanted.partition("?")
    segments = [_decoded(one) for one in path.split("/")[1:]]
    if any(one in ("", ".", "..") or set(one) & set("/\\%?#") for one in segments):
        raise Refused("the path of the request is none of the Engine's API", 400)
    version = _VERSION.fullmatch(segments[0])
    return Request(
        method,
        "/" + "/".join(segments[1:] if version else segments),
        version[1] if version else None,
        _query(query),
        _chosen(headers),
        token=token,
    )


def _query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split("&"):
        if not part:
            continue
        if ";" in part:
            raise Refused("the query of the request cannot be read", 400)
        key, _, value = (_decoded(one.replace("+", " ")) for one in part.partition("="))
        if key in found:
            raise Refused(f"the parameter {shown(key)} stands twice in the request", 400)
        found[key] = value
    return found


def _decoded(text: str) -> str:
    """What was encoded; `Refused` where it is no text."""
    if "%" not in text:
        return text
    if text.count("%") != len(_ENCODED.findall(text)):
        raise Refused("the path of the request is not encoded as it has to be", 400)
    raw = _ENCODED.sub(lambda one: chr(int(one[1], 16)), text)
    try:
        plain = raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise Refused("the path of the request is not UTF-8", 400) from None
    if _CONTROL.search(plain):
        raise Refused("the path of the request has a control character", 400)
    return plain


def _chosen(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key not in HEADERS:
            continue
        if key in found:
            raise Refused(f"the header {key} stands twice in the request", 400)
        found[key] = value.strip()
    coding = found.get("transfer-encoding")
    if coding is not None and (coding.lower() != "chunked" or "content-length" in found):
        raise Refused("the length of the request's body is said in two ways", 400)
    length = found.get("content-length")
    if length is not None and not re.fullmatch(r"[0-9]{1,15}", length, re.ASCII):
        raise Refused("the length of the request's body cannot be read", 400)
    return found


def shown(text: str) -> str:
    """Something of a request as a sentence may show it: in quotes, cut, without control characters."""
    clean = _CONTROL.sub("?", text).encode(errors="replace").decode()
    return f'"{clean[:80]}…"' if len(clean) > 80 else f'"{clean}"'


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused(f"the key {shown(_doubled(pairs))} stands twice in an object", 400)
    return found


def _doubled(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return ""


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _plain(value: Any, depth: int, seen: Iterator[int]) -> None:
    """``ValueError`` where it is too deep or has too much, or a character that no other reader keeps."""
    if depth > DEEP:
        raise ValueError("too deep")
    if next(seen) > VALUES:
        raise ValueError("too many values")
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError, a ValueError: half a pair of surrogates
        if "\0" in value:
            raise ValueError("NUL")
    elif isinstance(value, dict):
        for key, one in value.items():
            _plain(key, depth, seen)
            _plain(one, depth + 1, seen)
    elif isinstance(value, list):
        for one in value:
            _plain(one, depth + 1, seen)
