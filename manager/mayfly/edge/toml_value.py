"""A value as TOML, on one line, for files that have a comment beside each key.

A whole file is ``tomli_w.dumps``; what is written here loads again as the same value. Layout is all that is
ours: quoting and escaping are tomli-w's, and must never be done by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import tomli_w


def toml_value(value: object) -> str:
    """The value: a string, a number, true or false, a time, and lists and tables of these."""
    match value:
        case list() | tuple():
            return f"[{', '.join(toml_value(entry) for entry in value)}]"
        case Mapping():
            pairs = ", ".join(f"{toml_key(key)} = {toml_value(one)}" for key, one in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").removesuffix("\n")


def toml_key(key: str) -> str:
    """A key, quoted where it must be."""
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")
