"""Where a code is explained, and what is typed to read it."""

from __future__ import annotations

from mayfly.core.read_on import anchor, line_of, line_with


def test_an_anchor_is_the_code_on_the_page_or_below_the_site() -> None:
    assert anchor("slot.held") == "docs/how-to/troubleshooting.md#slot.held"
    for site in ("https://docs.lab/m", "https://docs.lab/m/"):
        assert (
            anchor("slot.held", site) == "https://docs.lab/m/how-to/troubleshooting.html#slot.held"
        )


def test_one_code_is_named_and_several_only_where_nothing_else_shows_them() -> None:
    assert line_of(["a.b", "a.b"]) == line_with(["a.b"]) == "mayfly help a.b"
    assert line_of(["a.b", "c.d"]) == "mayfly help CODE"
    assert line_with(["a.b", "c.d"]) == "mayfly help CODE, of a.b, c.d"
    many = [f"a.{letter}" for letter in "bcdefghi"]
    assert line_with(many) == "mayfly help CODE, of a.b, a.c, a.d, a.e, a.f, a.g and 2 more"
