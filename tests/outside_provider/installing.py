"""Installing the provider as a package of its own, with its dist-info, into a folder."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mayfly.providers import configuration

SOURCE = Path(__file__).parent


def install(folder: Path) -> Path:
    """The folder in which it is installed now, to be put on Python's path: what its wheel would hold."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    package = project["name"].replace("-", "_")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE / package, folder / package, ignore=ignored)
    about = folder / f"{package}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in entries.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join([*points, ""]))
    return folder


@contextmanager
def on_the_path(site: Path) -> Iterator[None]:
    """This process sees what is installed there, as a new one would."""
    sys.path.insert(0, str(site))
    configuration.forget()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in [name for name in sys.modules if name.split(".")[0] == "mayfly_parcel"]:
            del sys.modules[name]
        configuration.forget()
