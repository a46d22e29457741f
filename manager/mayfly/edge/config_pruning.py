"""A configuration less its mistakes, so that what is wrong between other keys is found in the same go.

What stands in for a mistake is never used: it is only looked at for further mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from mayfly.edge.sources import Tree, Where


def pruned(
    tree: Tree, mistakes: Iterable[tuple[Where, str]]
) -> tuple[Tree | None, tuple[Where, ...]]:
    """The tree without its mistakes, given as places and pydantic's kinds, and the places that were cut.

    ``None`` where nothing of use is left.
    """
    rest = deepcopy(tree)
    cuts: list[Where] = []
    for where, kind in mistakes:
        if where == ("pool",):
            return None, ()
        cut = _cut(where, kind)
        _take_out(rest, cut, kind)
        cuts.append(cut)
    return rest, tuple(cuts)


def concerns(where: Where, cuts: Iterable[Where]) -> bool:
    """Whether something is about a place that was cut, around it or in it."""
    return where != () and any(where[: len(cut)] == cut[: len(where)] for cut in cuts)


def _cut(where: Where, kind: str) -> Where:
    """What is taken out for a mistake: a list as a whole, a table that lacks a key as a whole."""
    for depth, part in enumerate(where):
        if isinstance(part, int) and depth > 1:
            return where[:depth]
    names_a_pool = where[:1] == ("pool",) and where[2:] == ("name",)
    return where[:-1] if kind == "missing" and not names_a_pool else where


def _take_out(tree: Tree, cut: Where, kind: str) -> None:
    here: object = tree
    for part in cut[:-1]:
        in_table = isinstance(here, dict) and part in here
        in_list = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if not (in_table or in_list):
            return
        here = here[part]  # type: ignore[index]
    last = cut[-1]
    if isinstance(here, list) and isinstance(last, int):
        here[last] = {"name": f"number-{last}"}
    elif isinstance(here, dict) and last == "name" and cut[0] == "pool":
        here["name"] = f"number-{cut[1]}"
    elif isinstance(here, dict) and kind.startswith("model_"):
        here[last] = {}
    elif isinstance(here, dict):
        here.pop(last, None)
