"""What the Debian package's scripts, which run as root, do where something is not as it should be.

They are run as they are, but below a directory and with programs that write down how they were called.
`tests/real/packages` has their whole life, in a box.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import disk

SCRIPTS = Path(__file__).parents[1] / "packages/debian"
SCHEMA = 13
CALLED = (
    *("docker", "systemctl", "deb-systemd-invoke", "systemd-sysusers", "systemd-tmpfiles"),
    *("groupdel", "getent", "mayfly"),
)
ANSWERED = (
    "db_input() { :; }; db_go() { :; }; db_get() { RET=true; }; db_purge() { :; }; db_stop() { :; }"
)


@dataclass
class Host:
    """A host below a directory."""

    root: Path
    fails: dict[str, str] = field(
        default_factory=dict
    )  # a program, and the words that it fails for

    def __post_init__(self) -> None:
        for name in ("bin", "usr/bin", "usr/share/debconf", "run/systemd/system", "var/lib/mayfly"):
            (self.root / name).mkdir(parents=True)
        (self.root / "usr/share/debconf/confmodule").write_text(ANSWERED)
        for name in CALLED:
            self.program(name)
        (self.root / "usr/bin/mayfly").symlink_to(self.root / "bin/mayfly")

    @property
    def removed(self) -> Path:
        """What prerm leaves for the others."""
        return self.root / "var/lib/mayfly/removed-package"

    def program(self, name: str, does: str = ":") -> None:
        """A program that writes down its arguments."""
        file = self.root / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.root}/called"\n{does}\n')
        file.chmod(0o755)

    def called(self) -> str:
        """How the programs were called, a line each."""
        file = self.root / "called"
        return file.read_text() if file.exists() else ""

    def below(self, text: str) -> str:
        """A script of which every path is below the directory."""
        return re.sub(r"(?<![\w/*}])/(?=(opt|var|etc|run|usr)/)", f"{self.root}/", text)

    def run(self, name: str, *words: str) -> str:
        """The script, which succeeds; what it says."""
        done = self.ran(name, *words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def ran(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """The script."""
        text = (SCRIPTS / name).read_text().replace("@SCHEMA@", str(SCHEMA))
        script = self.root / name
        script.write_text(self.below(text.replace("@VERSION@", "0.1.0-1")))
        return subprocess.run(
            ["sh", str(script), *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"},
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_purge_leaves_what_is_not_mayflys_in_a_state_directory(host: Host) -> None:
    state = host.root / "srv/lab"
    (state / "datasets").mkdir(parents=True)
    (state / "datasets/precious").write_text("ours")
    (state / "output").mkdir()
    (state / "mayfly.sqlite").write_text("")
    (host.root / "precious").write_text("ours")
    host.removed.write_text(
        f"state={state}\nentries=mayfly.sqlite output ../../precious\nhost=abc\n"
    )
    said = host.run("postrm", "purge")
    assert [one.name for one in state.iterdir()] == ["datasets"]
    assert (state / "datasets/precious").exists()
    assert (host.root / "precious").exists()
    assert f"left: {state}, in which is more than Mayfly's" in said
    assert not (host.root / "var/lib/mayfly").exists()


def test_a_purge_does_not_go_into_mounts_and_does_not_fail_for_them(host: Host) -> None:
    inner = host.root / "var/lib/mayfly/output"
    host.removed.write_text("state=/var/lib/mayfly\nhost=\n")
    with disk(inner, "1m"):
        (inner / "precious").write_text("ours")
        said = host.run("postrm", "purge")
        assert (inner / "precious").exists()
    assert f"left: {host.root}/var/lib/mayfly" in said
    assert "by which name the Engine knows" in said


def test_a_purge_empties_a_state_directory_that_is_a_link(host: Host) -> None:
    far = host.root / "data"
    (host.root / "var/lib/mayfly").rename(far)
    (host.root / "var/lib/mayfly").symlink_to(far)
    (far / "mayfly.sqlite").write_text("")
    place = host.below(" /var/lib/mayfly").strip()
    host.removed.write_text(f"state={place}\nentries=mayfly.sqlite\nhost=abc\n")
    host.run("postrm", "purge")
    assert not far.exists()
    assert not os.path.lexists(place)


def test_a_purge_asks_the_engine_that_the_configuration_named(host: Host) -> None:
    host.program("docker", 'case "$*" in *" ps "*) echo c1 ;; esac')
    host.removed.write_text("state=\nengine=unix:///x.sock\nhost=abc\n")
    said = host.run("postrm", "purge")
    called = host.called().splitlines()
    assert "docker -H unix:///x.sock ps -aq --filter label=io.mayfly.host=abc" in called
    assert "docker -H unix:///x.sock rm -f -v c1" in called
    assert "the configuration could not be read at the removal" in said


def test_a_removal_goes_on_where_somebody_took_the_programs_away(host: Host) -> None:
    (host.root / "bin/mayfly").unlink()
    for words in (("prerm", "remove"), ("prerm", "upgrade", "0.2"), ("postrm", "remove")):
        host.run(*words)


def test_what_was_compiled_since_a_removal_goes_and_keeps_no_installation_back(host: Host) -> None:
    folder = host.root / "opt/mayfly/lib/site-packages/x/__pycache__"
    folder.mkdir(parents=True)
    (folder / "y.pyc").write_text("")
    host.run("preinst", "install")
    host.run("postrm", "remove")
    assert not (host.root / "opt/mayfly").exists()
    (host.root / "opt/mayfly/bin").mkdir(parents=True)
    (host.root / "opt/mayfly/bin/python").symlink_to("/nowhere")
    done = host.ran("preinst", "install")
    assert (done.returncode, "is no package's" in done.stderr) == (1, True)


def test_a_removal_that_is_tried_again_knows_the_slots_of_the_first_try(host: Host) -> None:
    home = host.root / "opt/mayfly"
    (home / "bin").mkdir(parents=True)
    (home / "libexec").mkdir()
    (home / "bin/python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (home / "bin/python3").chmod(0o755)
    (home / "libexec/belongings").write_text(host.below((SCRIPTS / "belongings").read_text()))
    state = host.root / "srv/state"
    (state / "datasets").mkdir(parents=True)
    (state / "output").mkdir()
    config = f'{{"host": {{"state_dir": "{state}", "docker_host": "unix:///x.sock"}}}}'
    rows = '{"slot": "a-0", "cordoned": {}}, {"slot": "a-1", "cordoned": null}'
    host.program(  # something is wrong with the box: `status` says so by its exit code
        "mayfly",
        f"case $1 in config) echo '{config}' ;; status) echo '{{\"slots\": [{rows}]}}'; exit 1 ;; esac",
    )
    host.removed.write_text("slots=a-0\n")
    host.run("prerm", "remove")
    assert host.removed.read_text().splitlines() == [
        f"state={state}",
        "entries=output",
        "engine=unix:///x.sock",
        "host=",
        "slots=a-0 a-1",
    ]


def test_an_installation_fills_each_slot_that_is_there_and_forgets_them_last(host: Host) -> None:
    host.removed.write_text("slots=a-0 gone-1 a-2\n")
    host.program("mayfly", f"test -e {host.removed} || echo forgotten; [ $2 != gone-1 ]")
    assert "forgotten" not in host.run("postinst", "configure")
    filled = [line for line in host.called().splitlines() if "uncordon" in line]
    assert filled == [f"mayfly uncordon {slot}" for slot in ("a-0", "gone-1", "a-2")]
    assert not host.removed.exists()


def test_a_maintainers_name_may_be_any() -> None:
    line = (
        f'. {SCRIPTS.parents[1]}/scripts/wheels.sh; sed "s|@M@|$(as_replacement "$1")|" <<<"by @M@"'
    )
    name = r"Smith & Sons | \1 <it@lab.example>"
    said = subprocess.run(
        ["bash", "-c", line, "-", name], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"by {name}\n"


@pytest.mark.parametrize("words", [("install",), ("install", "0.2.0-1"), ("upgrade", "0.2.0-1")])
def test_no_older_version_is_put_over_a_newer_state(host: Host, words: tuple[str, ...]) -> None:
    state = host.root / "srv/state"
    state.mkdir(parents=True)
    with closing(sqlite3.connect(state / "mayfly.sqlite")) as db, db:
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    host.removed.write_text(f"state={state}\n")
    host.program("mayfly", f"echo '{{'; echo ' \"state_dir\": \"{state}\",'")
    host.run("preinst", *words)
    with closing(sqlite3.connect(state / "mayfly.sqlite")) as db, db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    done = host.ran("preinst", *words)
    assert done.returncode == 1
    assert f"(schema {SCHEMA + 1}, this one knows {SCHEMA})" in done.stderr
