"""Rows as aligned text: pure, and no wider than asked.

By hand, since rich takes half as long to load as all of `mayfly status`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

GAP = "  "
NARROWEST = 4


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    whole: Collection[str] = (),
) -> list[str]:
    """Lines with aligned columns; cut to ``width`` columns, ``None`` cuts nothing.

    Where there is too little room the widest column gives way first, and a cut cell ends with ``…``. Columns
    whose heading is in ``whole`` hold what a person types: they are never cut.
    """
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    if width is not None:
        may = [i for i, heading in enumerate(headings) if heading not in whole]
        widths = _fitted(widths, width - len(GAP) * (len(headings) - 1), may)
    return [
        GAP.join(_cell(text, size) for text, size in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _fitted(widths: list[int], room: int, may: list[int]) -> list[int]:
    """The widths, those of the columns that may give way made smaller until all fit or none can."""
    fitted = list(widths)
    while sum(fitted) > room and max((fitted[i] for i in may), default=0) > NARROWEST:
        fitted[max(may, key=lambda i: (fitted[i], i))] -= 1
    return fitted


def _cell(text: str, size: int) -> str:
    return text.ljust(size) if len(text) <= size else text[: size - 1] + "…"
