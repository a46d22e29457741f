"""The catalogue of images, as it comes with Mayfly: ``dockerfiles/images.toml`` read into values.

Reads a file of the package and the machine's architecture; it never looks at an Engine or a GPU.
"""

from __future__ import annotations

import platform
import tomllib
from importlib.resources import files
from typing import Any

from mayfly.core.images import Catalogue, Row, parse

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def catalogue() -> Catalogue:
    """The catalogue that this Mayfly carries."""
    text = (files("mayfly") / "data" / "dockerfiles" / "images.toml").read_text(encoding="utf-8")
    return read(tomllib.loads(text))


def read(document: dict[str, Any]) -> Catalogue:
    """The catalogue in a parsed file; ``KeyError`` or ``ValueError`` where it is none."""
    rows = [
        Row(
            cuda=parse(entry["cuda"]),
            release=entry["release"],
            driver=entry["driver"],
            compute=tuple(parse(capability) for capability in entry["compute"]),
            bases=entry["base"],
            end_of_life=entry["end_of_life"],
            sources=tuple(entry["sources"]),
        )
        for entry in document["image"]
    ]
    return Catalogue(tuple(sorted(rows, key=lambda row: row.cuda, reverse=True)))


def architecture() -> str:
    """This machine's, as images name it."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)
