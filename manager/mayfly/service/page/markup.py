"""HTML that is escaped by construction: a text becomes markup in ``el`` alone.

A text of a job, a service or a person may be anything (law 11, docs/architecture.md). So there is no way
from a ``str`` to ``Html`` that does not take out what would act on its reader and escape the rest, and an
address leads nowhere but to this page, less those of other boxes and of the docs, which the configuration
names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias, Union

from mayfly.core.plain_text import clean

VOID = frozenset({"meta", "link", "input", "br", "rect"})
ADDRESSES = frozenset({"href", "src", "action"})


@dataclass(frozen=True, slots=True)
class Html:
    """Markup that is finished; made by ``el`` and ``join`` alone."""

    text: str


Child: TypeAlias = Union[Html, str, int, float, Iterable["Child"], None]  # noqa: UP007  recursive
NOTHING = Html("")


def join(*children: Child) -> Html:
    """The children, one after the other; texts are escaped, ``None`` is nothing."""
    return Html("".join(map(_text, children)))


def el(tag: str, *children: Child, **attributes: str | float | bool | None) -> Html:
    """An element; ``data_age`` is ``data-age``, ``class_`` is ``class``, ``None`` and ``False`` are none."""
    told = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Html(f"<{tag}{told}>" if tag != "rect" else f"<rect{told}/>")
    return Html(f"<{tag}{told}>{join(*children).text}</{tag}>")


def link_elsewhere(text: str, address: str) -> Html:
    """A link to a page that the configuration names; what anybody else says is no address."""
    href = clean(address) if address.startswith(("https://", "http://")) else "#"
    return Html(f'<a href="{escape(href)}" rel="noreferrer">{escape(clean(text))}</a>')


def safe_id(value: object) -> str:
    """A name in an address or an id: what has other letters leads nowhere."""
    text = str(value or "")
    return text if text.isascii() and all(one.isalnum() or one in "._-" for one in text) else "-"


def document(title: str, head: Child, body: Html) -> bytes:
    """A whole page."""
    whole = el("html", el("head", head, el("title", title)), body, lang="en")
    return ("<!doctype html>\n" + whole.text + "\n").encode("utf-8", "replace")


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = clean(str(value))
    if name in ADDRESSES and (not text.startswith(("/", "#")) or text.startswith("//")):
        text = "#"
    return f' {name}="{escape(text)}"'


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child.text
    if isinstance(child, str):
        return escape(clean(child))
    if isinstance(child, int | float):
        return str(child)
    return "".join(map(_text, child))
