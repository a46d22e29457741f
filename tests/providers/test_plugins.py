"""Packages beside Mayfly that are broken: told where something asks for them, and in nobody's way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mayfly import engines
from mayfly.core.model import HostSpec
from mayfly.edge.config import ConfigError
from mayfly.edge.faults import Refused
from mayfly.providers import configuration, installed
from tests.providers.contract import HOST, HOST_ID

GOOD = """
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.providers import Package
"""
# What a module says, and what is told of a pool that names it.
PROVIDERS = {
    "raises": ("1 / 0", "cannot be imported (ZeroDivisionError: division by zero)"),
    "leaves": ("raise SystemExit(3)", "cannot be imported (SystemExit: 3)"),
    "absent": (None, "cannot be imported (ModuleNotFoundError: No module named 'broken_absent')"),
    "bare": ("", "cannot be imported (AttributeError:"),
    "number": ("PACKAGE = 7", "is no mayfly.providers.Package, but int"),
    "other": (
        GOOD + "PACKAGE = Package('another', None, lambda: ProviderKeys('another'))",
        "describes a provider of another name, another",
    ),
    "keyless": (GOOD + "PACKAGE = Package('keyless', None, lambda: 1 / 0)", "says no keys (Zero"),
    "sevenkeys": (
        GOOD + "PACKAGE = Package('sevenkeys', None, lambda: 7)",
        "says no keys, but int",
    ),
}
# The same, of those whose configuration can be read.
MAKERS = {
    "fails": ("lambda *_: 1 / 0", 'cannot serve pool "p" (ZeroDivisionError: division by zero)'),
    "seven": ("lambda *_: 7", 'makes no provider for pool "p", but int'),
}
ENGINES = {
    "eraises": ("1 / 0", "cannot be imported (ZeroDivisionError"),
    "eabsent": (None, "cannot be imported (ModuleNotFoundError"),
    "enumber": ("PACKAGE = 7", "cannot be called: it is int"),
    "eseven": ("PACKAGE = lambda *_, **__: 7", "makes no engine, but int"),
    "efails": ("PACKAGE = lambda *_, **__: 1 / 0", "makes no engine at unix:///"),
}
DIST = "broken-things 1.2"


def dist(site: Path, name: str, group: str, *entries: str) -> None:
    about = site / f"{name.replace('-', '_')}-1.2.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    points = "".join(f"{entry} = broken_{entry}:PACKAGE\n" for entry in entries)
    with (about / "entry_points.txt").open("a") as file:
        file.write(f"[{group}]\n{points}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, one name twice, and two that are Mayfly's own."""
    folder = tmp_path_factory.mktemp("site")
    modules = {name: text for name, (text, _) in (PROVIDERS | ENGINES).items()}
    for name, (make, _) in MAKERS.items():
        keys = f"lambda: ProviderKeys({name!r})"
        left = "left_behind=lambda _: 1 / 0"
        modules[name] = f"{GOOD}PACKAGE = Package({name!r}, {make}, {keys}, {left})"
    for name, text in modules.items():
        if text is not None:
            (folder / f"broken_{name}.py").write_text(text)
    dist(folder, "broken-things", "mayfly.providers", *PROVIDERS, *MAKERS, "twice", "local")
    dist(folder, "broken-things", "mayfly.engines", *ENGINES, "docker")
    dist(folder, "more-things", "mayfly.providers", "twice")
    return folder


@contextmanager
def seen(site: Path) -> Iterator[None]:
    sys.path.insert(0, str(site))
    configuration.forget()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in [name for name in sys.modules if name.startswith("broken_")]:
            del sys.modules[name]
        configuration.forget()


def write(home: Path, provider: str = "local", host: str = "") -> Path:
    path = home / "config.toml"
    path.write_text(
        f'[host]\nname = "box"\n{host}\n[[pool]]\nname = "p"\nprovider = "{provider}"\n'
    )
    return path


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_pool_of_a_broken_provider_is_told_what_and_whose_it_is(
    site: Path, tmp_path: Path, name: str
) -> None:
    with seen(site), pytest.raises(ConfigError) as caught:
        configuration.load(write(tmp_path, name), environ={})
    (problem,) = caught.value.problems
    assert problem.line == 6
    begins = f"{DIST}: entry point {name} = broken_{name}:PACKAGE of mayfly.providers"
    assert problem.text.startswith(f"{begins} {PROVIDERS[name][1]}")


@pytest.mark.parametrize("name", MAKERS)
def test_a_provider_that_cannot_be_made_is_refused_in_a_sentence(
    site: Path, tmp_path: Path, name: str
) -> None:
    with seen(site):
        (pool,) = configuration.load(write(tmp_path, name), environ={}).config.pools
        with pytest.raises(Refused) as caught:
            installed.load(pool, HOST, HOST_ID, tmp_path)
        assert installed.left_behind(tmp_path) == ()
    assert DIST in str(caught.value)
    assert str(caught.value).endswith(MAKERS[name][1])


def test_a_name_that_is_there_twice_is_nobodys(site: Path, tmp_path: Path) -> None:
    with seen(site), pytest.raises(ConfigError) as caught:
        configuration.load(write(tmp_path, "twice"), environ={})
    assert "broken-things 1.2: entry point twice" in str(caught.value)
    assert "more-things 1.2: entry point twice" in str(caught.value)
    assert "there may be one of that name" in str(caught.value)


@pytest.mark.parametrize("name", ENGINES)
def test_a_broken_engine_is_refused_in_a_sentence(site: Path, name: str) -> None:
    with seen(site), pytest.raises(Refused) as caught:
        engines.load(HostSpec("box", engine=name))
    begins = f"host.engine: {DIST}: entry point {name} = broken_{name}:PACKAGE of mayfly.engines"
    assert str(caught.value).startswith(begins)
    assert ENGINES[name][1] in str(caught.value)


def test_where_nothing_uses_them_they_are_in_nobodys_way_and_the_doctor_tells_of_them(
    site: Path, tmp_path: Path
) -> None:
    path = write(
        tmp_path, host=f'state_dir = "{tmp_path}/s"\ndocker_host = "unix://{tmp_path}/none.sock"'
    )
    with seen(site):
        (pool,) = configuration.load(path, environ={}).config.pools
        installed.load(pool, HOST, HOST_ID, tmp_path)
        assert engines.names() == ("docker", *sorted(ENGINES), "kubernetes")
    env = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    said = {}
    for verb in ("config check", "doctor"):
        command = [sys.executable, "-m", "mayfly.cli.app", *verb.split(), "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        said[verb] = done.stdout + done.stderr
        assert "Traceback" not in said[verb]
        assert verb == "doctor" or done.returncode == 0
    doctor = " ".join(said["doctor"].split())
    unseen = {"eseven", "efails"}  # what makes an engine is not called for one that nobody chose
    for name in {*PROVIDERS, *ENGINES, "local", "docker", "twice"} - unseen:
        assert f"entry point {name} = " in doctor, name
    assert (
        "local = broken_local:PACKAGE of mayfly.providers is not used: local is Mayfly's own"
        in doctor
    )
