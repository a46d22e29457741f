"""Where a code is explained: a section of the page on what may be wrong, whose anchor is the code.

Pure. The page is docs/how-to/troubleshooting.md; `mayfly help CODE` prints a section without a network.
"""

from __future__ import annotations

from collections.abc import Iterable

PAGE = "how-to/troubleshooting"
NAMED = 6  # codes that one line names


def anchor(code: str, docs: str | None = None) -> str:
    """The section's place: below ``docs``, where the pages are as a site, else in Mayfly's own docs."""
    return f"docs/{PAGE}.md#{code}" if docs is None else f"{docs.rstrip('/')}/{PAGE}.html#{code}"


def line(code: str) -> str:
    """What a person types to read that section."""
    return f"mayfly help {code}"


def line_of(codes: Iterable[str]) -> str:
    """The same of several, which are shown above."""
    known = list(dict.fromkeys(codes))
    return line(known[0] if len(known) == 1 else "CODE")


def line_with(codes: Iterable[str]) -> str:
    """The same of several that are shown nowhere else: it names them."""
    known = list(dict.fromkeys(codes))
    if len(known) == 1:
        return line(known[0])
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return f"{line('CODE')}, of {', '.join(known[:NAMED])}{more}"
