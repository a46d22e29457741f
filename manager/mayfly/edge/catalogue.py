"""The catalogues of images and of clients that come with Mayfly: files of ``dockerfiles`` read into values.

Reads a file of the package and the machine's architecture; it never looks at an Engine or a GPU.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from mayfly.core.images import Catalogue, Row, parse

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class CatalogueClient:
    """A service's client as the catalogue has it."""

    version: str | None  # that was tried; None: none was
    sha256: Mapping[str, str]  # by architecture, where it is known


def catalogue() -> Catalogue:
    """The catalogue that this Mayfly carries."""
    return read(_carried("images.toml"))


def client(provider: str) -> CatalogueClient:
    """The client of that provider; nothing is known of one that is not in the catalogue."""
    found = _carried("clients.toml")["client"].get(provider, {})
    return CatalogueClient(found.get("version"), found.get("sha256", {}))


def _carried(name: str) -> dict[str, Any]:
    text = (files("mayfly") / "data" / "dockerfiles" / name).read_text(encoding="utf-8")
    return tomllib.loads(text)


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
