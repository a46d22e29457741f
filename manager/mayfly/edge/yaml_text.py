"""A document as YAML, by the library that knows when a text needs quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def yaml_text(document: Mapping[str, object]) -> str:
    """Keys in their order; a text of several lines as a block. Plain values, lists and mappings only."""
    text: str = yaml.dump(
        dict(document), Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=1_000_000
    )
    return text


def _indented(dumper: Any, flow: bool = False, indentless: bool = False) -> None:
    """Lists stand to the right of their key, as people write them."""
    del indentless
    yaml.SafeDumper.increase_indent(dumper, flow, False)


def _written(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


# No place refers to another: what is the same twice is written twice.
_DUMPER: Any = type(
    "Dumper",
    (yaml.SafeDumper,),
    {"increase_indent": _indented, "ignore_aliases": lambda *_: True},
)
_DUMPER.add_representer(str, _written)


def parsed(text: str) -> object:
    """What a text of YAML says, plain values alone; ``ValueError`` where it is none."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
