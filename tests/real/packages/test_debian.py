"""The Debian package in the life that docs/how-to/debian.md tells, each line typed as the page has it.

The tests are one story, in their order.
"""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from mayfly.cli.installation import MARK
from tests.harness import until
from tests.real.packages.conftest import NEWER, DebianBox, Packages, typed_of
from tests.source import RELEASED

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

UNIT = "/etc/systemd/system/mayfly.service"


def test_the_same_source_gives_the_same_bytes(packages: Packages) -> None:
    first, again, newer = (
        hashlib.sha256(package.read_bytes()).hexdigest()
        for package in (packages.first, packages.again, packages.newer)
    )
    assert first == again
    assert first != newer


def test_what_it_carries_is_what_the_source_needs(packages: Packages) -> None:
    """Nothing of the build's own place is in it, and each library that the wheel asks for is."""
    listed = _said("dpkg-deb", "-c", str(packages.first))
    for name in ("docker", "pydantic", "typer", "cryptography", "yaml", "jinja2"):
        assert f"/site-packages/{name}/" in listed, name
    for python in ("311", "312", "313"):
        assert f"_pydantic_core.cpython-{python}-" in listed
    assert "__pycache__" not in listed


def test_a_folder_of_another_installation_is_refused_and_left(
    box: DebianBox, packages: Packages
) -> None:
    box.put(packages.first)
    box.must("mkdir -p /opt/mayfly && touch /opt/mayfly/theirs")
    done = box.sh("apt install ./mayfly_*.deb 2>&1")
    assert done.returncode != 0
    assert "mayfly: /opt/mayfly is there and is no package's" in done.stdout
    box.must("test -e /opt/mayfly/theirs && test ! -e /usr/bin/mayfly")
    box.must("rm -r /opt/mayfly && dpkg --purge mayfly && apt-get check")


def test_it_is_installed_set_up_and_runs_a_job(box: DebianBox, packages: Packages) -> None:
    box.put(packages.first)
    box.must(f"printf '# {MARK}\\n[Service]\\nExecStart=/usr/local/bin/mayfly run\\n' >{UNIT}")
    assert "left" not in box.type(1)
    assert box.must("mayfly --version") == f"mayfly {RELEASED}"
    box.must(f"test ! -e {UNIT}")  # it was Mayfly's own, and would have gone before the package's
    assert box.sh("systemctl is-active mayfly").returncode != 0, "nothing starts before init"
    box.type(2)
    assert box.must("systemctl show mayfly --property=FragmentPath --value") == (
        "/usr/lib/systemd/system/mayfly.service"
    ) or box.must("readlink -f /lib/systemd/system/mayfly.service")
    for name in ("mayfly", "mayfly-users"):
        box.must(f"getent group {name}")
    assert box.must("stat -c '%a %U:%G' /run/mayfly/control.sock") == "660 root:mayfly"
    box.must("dpkg --verify mayfly && dpkg --audit")


def test_completion_and_man_pages_are_where_shells_and_man_look(box: DebianBox) -> None:
    for place in (
        *("bash-completion/completions/mayfly", "zsh/vendor-completions/_mayfly"),
        *("fish/vendor_completions.d/mayfly.fish", "doc/mayfly/examples/config.toml"),
    ):
        box.must(f"test -s /usr/share/{place}")
    script = "/usr/share/bash-completion/completions/mayfly"
    asked = 'COMP_LINE="mayfly dra"; COMP_POINT=10; _mayfly_complete mayfly; echo $COMPREPLY'
    said = box.must(f"bash -c '. {script}; {asked}'")
    assert "drain" in said


def test_mayfly_install_leaves_it_to_the_package(box: DebianBox) -> None:
    assert "the package mayfly has put the units" in box.must("mayfly install 2>&1")
    done = box.sh("mayfly install --uninstall")
    assert (done.returncode, "sudo apt remove mayfly" in done.stderr) == (1, True)
    box.must(f"test ! -e {UNIT}")
    box.must(
        "ln -s /opt/mayfly/bin/mayfly /usr/local/bin/other && cp /opt/mayfly/bin/mayfly /tmp/mayfly"
    )
    done = box.sh("/tmp/mayfly install")
    assert (done.returncode, "sudo apt remove mayfly" in done.stderr) == (1, True)
    box.must("rm /usr/local/bin/other /tmp/mayfly")


def test_an_upgrade_during_a_job_costs_nothing_and_leaves_the_configuration(
    box: DebianBox, packages: Packages
) -> None:
    box.must("install -m 600 /dev/null /etc/mayfly/credentials/token")
    before = _configuration(box)
    agents = {slot["agent"] for slot in box.json("/v1/status")["slots"]}
    job = box.running("echo upgraded")
    pid = box.pid()
    box.put(packages.newer)
    box.type(3)
    assert box.must("mayfly --version") == f"mayfly {NEWER}"
    assert box.pid() != pid, "the new version runs"
    assert box.let_go(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "upgraded"
    assert _configuration(box) == before
    until(
        lambda: not agents & {slot["agent"] for slot in box.json("/v1/status")["slots"]},
        "agents of the version before are replaced",
    )
    box.must("mayfly wait --for idle --timeout 60s")


def test_going_back_is_refused_where_the_state_is_newer_and_else_done(
    box: DebianBox, packages: Packages
) -> None:
    box.put(packages.first)
    box.must("systemctl stop mayfly")
    state = f"{box.home}/state/mayfly.sqlite"
    was = _schema(box, state)
    _schema(box, state, 99)
    back = "apt install --yes --allow-downgrades ./mayfly_*.deb"
    done = box.sh(f"{back} 2>&1")
    assert done.returncode != 0
    assert f"cannot read the state that version {NEWER}-1 has written (schema 99" in done.stdout
    assert box.must("mayfly --version") == f"mayfly {NEWER}", "the newer one is whole"
    _schema(box, state, was)
    box.must("systemctl start mayfly")
    said = box.must(f"{back} 2>&1")
    assert f"going back from version {NEWER}-1 to {RELEASED}-1" in said
    assert box.must("mayfly --version") == f"mayfly {RELEASED}"
    box.must("mayfly wait --for idle --timeout 60s")


def test_a_removal_lets_go_of_who_waits_and_the_job_is_adopted_again(
    box: DebianBox, packages: Packages
) -> None:
    box.must("mayfly cordon local-0")
    job = box.running("echo adopted")
    before = _configuration(box)
    said = box.type(4, typed="y\n")
    assert "goes on without its manager" in said
    assert job in said
    assert box.sh("systemctl is-active mayfly").returncode != 0
    assert len(box.engine.docker("ps", "-q", "--filter", "label=io.mayfly.slot").split()) == 1
    left = [path for path in box.named() if path.startswith(("/opt", "/usr"))]
    assert left == []
    assert _configuration(box) == before
    box.type(5)
    rows = {slot["slot"]: slot for slot in box.json("/v1/status")["slots"]}
    assert [bool(rows[name]["cordoned"]) for name in ("local-0", "local-1")] == [True, False]
    assert box.let_go(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "adopted"
    box.must("mayfly uncordon --all && mayfly wait --for idle --timeout 60s")


def test_a_purge_that_nobody_answers_keeps_everything(box: DebianBox, packages: Packages) -> None:
    before = _configuration(box)
    said = box.must("DEBIAN_FRONTEND=noninteractive apt purge --yes mayfly 2>&1")
    assert f"kept: the configuration in /etc/mayfly, the state in {box.home}/state" in said
    assert _configuration(box) == before
    box.must(f"test -s {box.home}/state/mayfly.sqlite && getent group mayfly mayfly-users")
    box.type(5)
    assert box.must("mayfly submit --wait -- echo kept") == "kept"


def test_a_purge_asks_and_then_leaves_nothing(box: DebianBox) -> None:
    box.running("true")
    [(command, _)] = typed_of(6)
    said = box.on_a_terminal(command, ("[Y/n]", "y"), ("Remove Mayfly", "yes"))
    assert "left: your own /etc/systemd/system/mayfly.service.d" in said  # the box's
    _assert_nothing_is_left(box)


def test_a_script_purges_without_being_asked(box: DebianBox, packages: Packages) -> None:
    box.must("mkdir -p /etc/mayfly/conf.d")
    place = "/etc/mayfly/conf.d/10-box.toml"
    box.must(f"printf '[host]\\nstate_dir = \"{box.home}/state\"\\n' >{place}")
    box.type(1)
    box.type(7)
    _assert_nothing_is_left(box)


def _assert_nothing_is_left(box: DebianBox) -> None:
    own = [f"/etc/systemd/system/{unit}.service.d" for unit in ("mayfly", "mayfly-gateway")]
    assert sorted(box.named()) == sorted(own)
    box.must(f"test ! -e {box.home}/state && test ! -e /etc/mayfly && test ! -e /opt/mayfly")
    for name in ("mayfly", "mayfly-users"):
        assert box.sh(f"getent group {name}").returncode == 2
    for words in ("list-unit-files", "list-units --all"):
        # Where there is none, a newer systemctl fails.
        assert box.sh(f"systemctl {words} --no-pager --no-legend 'mayfly*'").stdout == ""
    for asked in (
        ("ps", "-aq", "--filter", "label=io.mayfly.host"),
        ("network", "ls", "-q", "--filter", "label=io.mayfly.host"),
        ("network", "ls", "-q", "--filter", "label=io.mayfly.belongs.host"),
        ("volume", "ls", "-q"),
        ("images", "-q", "--filter", "label=io.mayfly.gate"),
    ):
        assert box.engine.docker(*asked) == "", asked
    assert box.sh("dpkg -s mayfly").returncode != 0
    assert "mayfly" not in box.must("debconf-show mayfly")


def _configuration(box: DebianBox) -> str:
    return box.must(
        "find /etc/mayfly -exec stat -c '%n %a %U:%G' {} + -type f | sort; cat /etc/mayfly/*.toml"
    )


def _schema(box: DebianBox, file: str, to: int | None = None) -> int:
    """What the state says of its version, or is made to say."""
    asked = "PRAGMA user_version" + ("" if to is None else f" = {to}")
    code = (
        f"import sqlite3; db = sqlite3.connect('{file}'); row = db.execute('{asked}').fetchone(); "
        "db.execute('PRAGMA wal_checkpoint(TRUNCATE)'); print(row[0] if row else 0)"
    )
    return int(box.must(f'python3 -c "{code}"'))


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
