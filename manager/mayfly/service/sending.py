"""How content for jobs comes in by the control socket: asked for by digest, then sent, then made a tree.

Everybody sends to a store of their own and asks about that alone: a digest tells nobody what others have. A
body with content is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from mayfly.core.content_wire import ASKED_MAX, CONTENTS_MAX, LENGTH
from mayfly.edge.faults import Refused
from mayfly.edge.http_connection import (
    RETRY,
    HttpReply,
    Request,
    Sent,
    error_reply,
    json_reply,
)
from mayfly.edge.pieces import PIECE
from mayfly.edge.workspaces import Busy, Lacking, TooMuch, Workspaces
from mayfly.service import parameters

SLACK = 32 * 1024 * 1024  # of a body: the lengths, and a tree's list beside its files
LACKING = ("digests",)
TREE = ("manifest",)

Answer: TypeAlias = Callable[[Workspaces, Request, tuple[str, ...]], HttpReply]


def most(workspaces: Workspaces) -> int:
    """The most bytes that one body has."""
    return workspaces.bounds.tree + SLACK


def lacking(workspaces: Workspaces, request: Request, body: tuple[str, ...]) -> HttpReply:
    """``{digests}``: which of them the caller has not sent, and the most bytes that one job brings."""
    given = parameters.document(request.body, body).get("digests")
    if not isinstance(given, list) or len(given) > ASKED_MAX:
        raise parameters.BadRequest(f"digests must be a list of at most {ASKED_MAX} texts")
    digests = [_digest(one, "digests") for one in given]
    found = workspaces.lacking(request.caller.uid, digests)
    return json_reply(200, {"lacking": found, "most": workspaces.bounds.tree})


def content(workspaces: Workspaces, request: Request, _: tuple[str, ...]) -> HttpReply:
    """Contents one after the other: each its length, and then its bytes."""
    sent = request.sent
    assert sent is not None  # of a path that takes pieces
    try:
        digests = workspaces.keep_all(request.caller.uid, _contents(sent), sent.left)
    except TooMuch as fault:
        return error_reply(413, str(fault), "too_much")
    except Busy as fault:
        return replace(error_reply(503, str(fault), "busy"), headers=RETRY)
    return json_reply(200, {"digests": digests})


def _contents(sent: Sent) -> Iterator[tuple[int, Iterator[bytes]]]:
    count = 0
    while sent.left:
        count += 1
        if count > CONTENTS_MAX or sent.left < LENGTH.size:
            raise parameters.BadRequest(
                f"a body has whole contents, {CONTENTS_MAX} at most, each behind its length"
            )
        (size,) = LENGTH.unpack(sent.read(LENGTH.size))
        if size > sent.left:
            raise parameters.BadRequest("a content is longer than what is left of the body")
        yield size, _pieces(sent, size)


def tree(workspaces: Workspaces, request: Request, body: tuple[str, ...]) -> HttpReply:
    """``{manifest}``: the tree of that list, all of whose content was sent."""
    given = parameters.document(request.body, body).get("manifest")
    try:
        found = workspaces.register(request.caller.uid, _digest(given, "manifest"))
    except Lacking as fault:
        return error_reply(409, f"{fault}: send what is lacking, and ask again", "lacking")
    except TooMuch as fault:
        return error_reply(413, str(fault), "too_much")
    except Refused as fault:
        return error_reply(409, str(fault), "refused")
    return json_reply(200, {"workspace": found.digest, "files": found.files, "bytes": found.size})


def _pieces(sent: Sent, size: int) -> Iterator[bytes]:
    while size:
        piece = sent.read(min(size, PIECE))
        size -= len(piece)
        yield piece


def _digest(value: object, key: str) -> str:
    found = parameters.digest(value, key)
    if found is None:
        raise parameters.BadRequest(f"{key} must not be null")
    return found
