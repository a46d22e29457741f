"""Which CUDA versions there are, out of a document of the manager or of a person."""

from __future__ import annotations

import re

_IMAGE = re.compile(r"cuda-?([0-9]{1,2}\.[0-9]{1,2})")
_VERSION = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}")


def cuda_versions(document: object) -> tuple[str, ...]:
    """The versions, the lowest first; none where the document is of another kind.

    It is what ``mayfly status --json`` or ``mayfly images list --json`` prints, or ``{"cuda": ["12.8"]}``.
    """
    if not isinstance(document, dict):
        return ()
    found: set[str] = set()
    for slot in _rows(document.get("slots")):
        named = _IMAGE.search(str(slot.get("image")))
        found |= {named[1]} if named is not None else set()
    found |= {str(image.get("cuda")) for image in _rows(document.get("images"))}
    written = document.get("cuda")
    found |= set(map(str, written)) if isinstance(written, list) else set()
    versions = (one for one in found if _VERSION.fullmatch(one))
    return tuple(sorted(versions, key=lambda one: tuple(map(int, one.split(".")))))


def _rows(rows: object) -> list[dict[str, object]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
