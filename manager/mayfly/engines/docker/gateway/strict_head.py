"""The head of a request as it has to be: read in one way only, by everybody who will ever read it.

h11 takes what senders get wrong (folded lines, a lone line feed, lengths said twice) and makes the best of
it. Between a client that is not trusted and an Engine that is, there is no best: it is refused (RFC 9112,
sections 2.2, 5.2, 6.3).
"""

from __future__ import annotations

import re

HEAD_MOST = 64 * 1024  # bytes of a head, its end included
FIELDS_MOST = 100
END = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"[A-Z]{1,16} /[\x21-\x7e]* HTTP/1\.[01]")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x20-\x7e\t]*")


def fault_of(head: bytes) -> str | None:
    """What is wrong with a head, up to its end and without that, in a sentence; ``None``: nothing."""
    lines = head.split(b"\r\n")
    if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines):
        return "a line of the head does not end as HTTP has it"
    if _REQUEST_LINE.fullmatch(lines[0]) is None:
        return "the request line is not one of HTTP/1.1 with a path"
    if len(lines) - 1 > FIELDS_MOST:
        return f"the request has more than {FIELDS_MOST} headers"
    names: set[bytes] = set()
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t"):
            return "a header goes on in a second line"
        if _FIELD.fullmatch(line) is None:
            return "a header is not written as HTTP has it"
        name = line.partition(b":")[0].lower()
        if name in names:
            return f"the header {name.decode()} is said twice"
        names.add(name)
    if {b"content-length", b"transfer-encoding"} <= names:
        return "the body has a length and comes in chunks"
    return None
