"""A sentence of a page as a paragraph of a terminal."""

from __future__ import annotations

import textwrap

INDENT = "  "


def paragraph(said: str, width: int) -> list[str]:
    """Its lines, indented; a word that is too long for one, as a path may be, stays whole."""
    return textwrap.wrap(
        said[:1].upper() + said[1:],
        width,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
