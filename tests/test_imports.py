"""Imports go one way, and each library is met in one place."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "manager/mayfly"
# Each may import those before it.
LAYERS = ("core", "edge", "engines", "providers", "service", "cli")
# A library and the files that may know it.
HOMES = {
    "cryptography": "edge/app_key.py",
    "jinja2": "edge/pipeline_templates.py",
    "yaml": "edge/yaml_text.py",
    "h11": "engines/docker/gateway/*.py",
    "docker": "engines/docker/client.py",
    "pynvml": "edge/gpus*.py",
    "requests": "edge/exchange.py",
    "sqlite3": "edge/history*.py",
    "websocket": "engines/kubernetes/sockets.py",
}
# What would let core see or change anything but its arguments.
IMPURE = frozenset(
    {
        "asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "random",
        "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys",
        "tempfile", "threading", "time", "urllib", "uuid",
    }
)  # fmt: skip
PROVIDERS = frozenset(path.parent.name for path in (ROOT / "providers").glob("*/__init__.py"))
ENGINES = frozenset(path.parent.name for path in (ROOT / "engines").glob("*/__init__.py"))
MODULES = sorted(ROOT.rglob("*.py"))


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """Every module that the file imports, wherever in the file it does."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def layer(path: Path) -> str | None:
    """The layer that the file belongs to; ``None`` for the package's own files."""
    first = path.relative_to(ROOT).parts[0]
    return first if first in LAYERS else None


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def wrong(paths: Iterable[Path], forbidden: Callable[[Path, str], bool]) -> list[str]:
    """The imports that are forbidden, each with its file."""
    return [
        f"{named(path)} imports {module}"
        for path in paths
        for module in imported(path)
        if forbidden(path, module)
    ]


def test_a_layer_imports_only_those_beneath_it() -> None:
    def above(path: Path, module: str) -> bool:
        own, parts = layer(path), module.split(".")
        higher = LAYERS[LAYERS.index(own) + 1 :] if own is not None else ()
        return parts[0] == "mayfly" and len(parts) > 1 and parts[1] in higher

    assert len(MODULES) > 200
    assert wrong(MODULES, above) == []


def test_a_library_is_imported_in_its_one_place() -> None:
    def astray(path: Path, module: str) -> bool:
        home = HOMES.get(module.split(".", maxsplit=1)[0])
        return home is not None and not path.match(home)

    assert wrong(MODULES, astray) == []


def test_a_provider_knows_no_engine() -> None:
    paths = sorted((ROOT / "providers").rglob("*.py"))
    assert wrong(paths, lambda _, module: module.startswith("mayfly.engines")) == []


@pytest.mark.parametrize("room", ["core", "edge", "providers", "service"])
def test_no_engine_is_known_outside_its_own_package(room: str) -> None:
    """Values and the protocol are everybody's; a package of one engine is found by ``engines.load`` alone."""
    for path in sorted((ROOT / room).rglob("*.py")):
        known = [module for module in imported(path) if module.startswith("mayfly.engines.")]
        assert {module.split(".")[2] for module in known} <= {"protocol", "load"}, named(path)


def test_cli_knows_an_engine_by_name_only_where_a_verb_is_about_that_one() -> None:
    about = {
        "cli/cluster_socket.py": {"kubernetes"},
        "cli/gateway_process.py": {"docker"},
        "cli/image_building.py": {"docker"},
        "cli/verbs_images.py": {"docker"},
    }
    for path in sorted((ROOT / "cli").rglob("*.py")):
        known = [module for module in imported(path) if module.startswith("mayfly.engines.")]
        engines = {module.split(".")[2] for module in known} & ENGINES
        assert engines == about.get(named(path), set()), named(path)


@pytest.mark.parametrize("room", ["core", "edge", "engines", "service", "cli"])
def test_no_provider_is_known_outside_its_own_package(room: str) -> None:
    """Each is found by ``providers.installed`` alone."""
    for path in sorted((ROOT / room).rglob("*.py")):
        known = [module for module in imported(path) if module.startswith("mayfly.providers.")]
        packages = {module.split(".")[2] for module in known if module.count(".") > 2}
        assert not packages & PROVIDERS, named(path)
        assert not {module.split(".")[-1] for module in known} & PROVIDERS, named(path)


def test_core_is_pure() -> None:
    paths = sorted((ROOT / "core").rglob("*.py"))
    assert wrong(paths, lambda _, module: module.split(".")[0] in IMPURE) == []


def test_every_package_is_a_layer() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(LAYERS)
