"""`mayfly install`: what it puts in place, what it leaves alone, and that the unit is a tight one."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mayfly.cli import installation, packaging
from mayfly.cli.installation import MARK, UNIT, InstalledFile
from mayfly.cli.trouble import Trouble
from mayfly.cli.verbs_images import missing
from mayfly.cli.verbs_install import package_files
from tests import copies

FILES = [
    "etc/systemd/system/mayfly.service",
    "etc/systemd/system/mayfly-gateway.service",
    "etc/systemd/system/mayfly-refresh.service",
    "etc/systemd/system/mayfly-refresh.timer",
    "etc/sysusers.d/mayfly.conf",
    "etc/tmpfiles.d/mayfly.conf",
    "etc/mayfly/config.example.toml",
    "usr/local/share/bash-completion/completions/mayfly",
    "usr/local/share/zsh/site-functions/_mayfly",
    "usr/local/share/fish/vendor_completions.d/mayfly.fish",
]
analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"
)


PAGES = "usr/local/share/man"


def install(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return copies.command("install", "--root", root, *more)


def present(root: Path) -> list[str]:
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if not path.is_relative_to(PAGES))


def pages(root: Path) -> set[str]:
    return {path.name for path in (root / PAGES).glob("man*/*")}


def test_an_installation_says_every_file_that_it_wrote(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 0, done.stderr
    assert present(tmp_path) == sorted(FILES)
    told = [f"wrote /{name}" for name in FILES]
    number = len(pages(tmp_path))
    assert number > 40
    assert done.stdout.splitlines() == [*told, f"wrote {number} man pages below /{PAGES}"]
    assert (tmp_path / PAGES / "man5/mayfly-config.5").is_file()
    assert "mayfly init" in done.stderr


def test_installing_twice_changes_nothing(tmp_path: Path) -> None:
    install(tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in FILES}
    assert "mayfly: nothing would change\n" in install(tmp_path, "--dry-run").stderr
    again = install(tmp_path)
    assert "wrote" not in again.stdout
    assert "mayfly: nothing changed\n" in again.stderr
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in FILES} == before


def test_a_file_of_somebody_else_s_is_no_change(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / FILES[0]).write_text("# mine\n")
    assert "mayfly: nothing would change\n" in install(tmp_path, "--dry-run").stderr
    again = install(tmp_path)
    assert f"/{FILES[0]} left alone, Mayfly did not write it" in again.stdout
    assert "mayfly: nothing changed\n" in again.stderr


def test_what_systemd_is_to_make_is_read_from_the_files_that_are_shipped() -> None:
    shipped = files("mayfly") / "data/systemd"
    assert installation.groups((shipped / "sysusers.conf").read_text()) == [
        "mayfly",
        "mayfly-users",
    ]
    assert [
        (str(place.path), oct(place.mode))
        for place in installation.places((shipped / "tmpfiles.conf").read_text())
    ] == [
        ("/etc/mayfly", "0o755"),
        ("/etc/mayfly/conf.d", "0o755"),
        ("/etc/mayfly/credentials", "0o700"),
    ]


def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    done = install(tmp_path, "--dry-run")
    assert done.stdout.splitlines()[0] == f"would write /{FILES[0]}"
    assert present(tmp_path) == []
    assert pages(tmp_path) == set()


def test_an_older_file_of_ours_is_written_again_and_a_strangers_is_left_alone(
    tmp_path: Path,
) -> None:
    install(tmp_path)
    ours, theirs = tmp_path / FILES[0], tmp_path / FILES[2]
    ours.write_text(f"# {MARK}\n[Service]\nExecStart=/old/mayfly run\n")
    theirs.write_text("d /etc/mayfly 0700 alice alice\n")
    said = install(tmp_path).stdout
    assert f"wrote again /{FILES[0]}" in said
    assert f"/{FILES[2]} left alone, Mayfly did not write it" in said
    assert "ExecStart=/old" not in ours.read_text()
    assert "alice" in theirs.read_text()


def test_uninstalling_takes_away_ours_and_nothing_else(tmp_path: Path) -> None:
    install(tmp_path)
    config = tmp_path / "etc/mayfly/config.toml"
    config.write_text("# mine\n")
    (tmp_path / FILES[2]).write_text("d /etc/mayfly 0700 alice alice\n")
    done = install(tmp_path, "--uninstall")
    assert done.returncode == 0, done.stderr
    assert present(tmp_path) == ["etc/mayfly/config.toml", FILES[2]]
    assert pages(tmp_path) == set()
    for kept in ("/etc/mayfly,", "/var/lib/mayfly,", "mayfly.service.d", "sudo groupdel mayfly"):
        assert kept in done.stderr.partition("left, to be removed by hand")[2]


def test_a_page_of_a_verb_that_is_gone_goes_and_a_stranger_s_stays(tmp_path: Path) -> None:
    install(tmp_path)
    former, theirs = (tmp_path / PAGES / "man1" / f"mayfly-{name}.1" for name in ("hush", "drain"))
    former.write_text(f'.TH X 1\n.\\" {MARK}\n')
    theirs.write_text(".TH OURS 1\n")
    again = install(tmp_path).stdout
    assert f"removed 1 man page below /{PAGES}" in again
    assert f"/{PAGES}/man1/mayfly-drain.1 left alone, Mayfly did not write it" in again
    assert not former.exists()
    assert "removed" in install(tmp_path, "--uninstall").stdout
    assert pages(tmp_path) == {"mayfly-drain.1"}


def test_the_example_is_a_configuration_without_mistakes(tmp_path: Path) -> None:
    install(tmp_path)
    example = tmp_path / "etc/mayfly/config.example.toml"
    checked = copies.command("config", "check", "--config", example)
    assert checked.returncode == 0, checked.stderr


def test_the_unit_starts_the_command_that_was_installed() -> None:
    shipped = {
        "mayfly.service": "[Service]\nExecStart=/usr/local/bin/mayfly run\n",
        "mayfly-gateway.service": "[Service]\nExecStart=/usr/local/bin/mayfly gateway\n",
        "mayfly-refresh.service": "[Service]\nExecStart=/usr/local/bin/mayfly images refresh\n",
        "mayfly-refresh.timer": "",
        "sysusers.conf": "",
        "tmpfiles.conf": "",
        "config.example.toml": "",
    }
    wanted = installation.files(shipped, "/opt/mayfly/bin/mayfly", {}, {})
    units = {want.path.name: want.text for want in wanted}
    assert "ExecStart=/opt/mayfly/bin/mayfly run\n" in units["mayfly.service"]
    assert "ExecStart=/opt/mayfly/bin/mayfly gateway\n" in units["mayfly-gateway.service"]
    assert "ExecStart=/opt/mayfly/bin/mayfly images refresh\n" in units["mayfly-refresh.service"]


@pytest.mark.parametrize("first", ["#compdef mayfly", "#!/bin/sh"])
def test_a_first_line_with_a_meaning_stays_the_first(first: str) -> None:
    assert installation.marked(f"{first}\nrest\n").splitlines()[0] == first


def test_a_plan_follows_from_what_is_there() -> None:
    want = InstalledFile(UNIT, installation.marked("new\n"))
    rows: list[tuple[str | None, str]] = [
        (None, "new"),
        (want.text, "same"),
        (installation.marked("old\n"), "changed"),
        ("mine\n", "foreign"),
    ]
    for text, deed in rows:
        seen = {} if text is None else {UNIT: text}
        assert installation.plan([want], seen)[0].deed == deed


@analyze
def test_the_installed_unit_verifies_without_a_word(tmp_path: Path) -> None:
    command = tmp_path / "mayfly"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    shipped = (Path(__file__).parents[2] / "systemd/mayfly.service").read_text()
    unit = tmp_path / "mayfly.service"
    unit.write_text(shipped.replace(installation.SHIPPED_COMMAND, str(command)))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@analyze
def test_the_units_exposure_is_at_most_three() -> None:
    unit = Path(__file__).parents[2] / "systemd/mayfly.service"
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = re.search(r"Overall exposure level for mayfly\.service: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found.group(1)) <= 3.0


@pytest.mark.engine
def test_init_names_the_image_that_is_still_to_be_built_and_builds_none_where_that_is_not_wanted(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.toml"
    command = [
        sys.executable,
        "-m",
        "mayfly.cli.app",
        "init",
        "--no-images",
        "--config",
        str(config),
    ]
    done = subprocess.run(
        [*command, "--provider", "local", "--slots", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "images build" not in done.stderr  # it is there: the tests need it
    config.write_text(
        config.read_text().replace("gpus = 0", 'image = "mayfly/local:none"\ngpus = 0', 1)
    )
    assert missing(str(config)) == [("local", "none")]


def test_a_package_has_the_same_files_in_its_own_places(tmp_path: Path) -> None:
    install(tmp_path)
    host = {path: (tmp_path / path).read_text() for path in present(tmp_path)}
    packaged = {str(file.path): file.text for file in package_files(packaging.COMMAND)}
    assert len(packaged) == len(host) + len(pages(tmp_path))
    assert not [path for path in packaged if path.startswith(("etc/", "usr/local/"))]
    assert not [path for path, text in packaged.items() if MARK in text]
    unit = packaged["usr/lib/systemd/system/mayfly.service"]
    assert "ExecStart=/usr/bin/mayfly run\n" in unit
    for own, text in host.items():
        place, other = next(row for row in packaging.PLACES.items() if own.startswith(row[0]))
        theirs = packaged[other + own.removeprefix(place)]
        assert _without_places(theirs) == _without_places(text), own


def _without_places(text: str) -> list[str]:
    """Its lines but for the mark, and for those that name the command."""
    return [line for line in text.splitlines() if MARK not in line and "bin/mayfly" not in line]


def test_beside_a_package_the_files_are_left_to_it(tmp_path: Path) -> None:
    assert not packaging.is_here(tmp_path / "mayfly.service")
    (tmp_path / "mayfly.service").touch()
    assert packaging.is_here(tmp_path / "mayfly.service")
    assert "has put the units" in packaging.left_to_it(packaging.COMMAND)
    for command, uninstall in ((packaging.COMMAND, True), ("/usr/local/bin/mayfly", False)):
        with pytest.raises(Trouble, match="sudo apt remove mayfly"):
            packaging.left_to_it(command, uninstall=uninstall)


def test_what_the_package_carries_is_what_the_project_allows() -> None:
    """Each dependency of the project and of its extras is pinned, in a release that it may be."""
    root = Path(__file__).parents[2]
    text = (root / "packages/debian/pins.txt").read_text()
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["app"], *extras["kubernetes"], *extras["pipeline"]]
    assert len(wanted) > 10
    for row in map(Requirement, wanted):
        assert row.specifier.contains(pins[row.name.lower()]), row
