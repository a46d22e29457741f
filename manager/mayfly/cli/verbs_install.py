"""``install``: unit, group, directories, completions, man pages and an example configuration, in place."""

from __future__ import annotations

import grp
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files as resources
from pathlib import Path
from stat import S_IMODE, S_ISDIR
from typing import Annotated

import typer

from mayfly.cli import installation, packaging, paste
from mayfly.cli.completion_scripts import SCRIPTS
from mayfly.cli.installation import (
    GATEWAY,
    REFRESH,
    SYSUSERS,
    TIMER,
    TMPFILES,
    UNIT,
    InstallStep,
)
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble
from mayfly.cli.whole_file import text_of
from mayfly.edge.sources import DEFAULT_FILE

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
SHIPPED = (
    "mayfly.service",
    "mayfly-gateway.service",
    "mayfly-refresh.service",
    "mayfly-refresh.timer",
    "sysusers.conf",
    "tmpfiles.conf",
)


def install(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Take away what an installation wrote.")
    ] = False,
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Another host's root, for packages.")
    ] = Path("/"),
) -> None:
    """Put the systemd unit, group, directories, completions and man pages in place."""
    here = root.resolve() == Path("/")
    if here and packaging.is_here():
        say(packaging.left_to_it(own_command(), uninstall=uninstall))
        return
    wanted = _wanted()
    present = _present(wanted, root)
    if uninstall:
        if here and not dry_run and active():
            raise Trouble(
                "mayfly.service is running: first `sudo systemctl disable --now mayfly` (its agents stay; "
                "`mayfly drain --all --wait` before that empties the host)"
            )
        steps = installation.removal(wanted, present)
    else:
        steps = installation.plan(wanted, present)
    lines = []
    for line in _taken(steps, root, here=here, dry_run=dry_run):
        print(line)
        lines.append(line)
    if not uninstall and not any(map(installation.tells_a_change, lines)):
        say("nothing would change" if dry_run else "nothing changed")
    if dry_run:
        return
    if uninstall:
        say(
            "left, to be removed by hand: the configuration in /etc/mayfly, the state in /var/lib/mayfly, "
            "your own /etc/systemd/system/mayfly.service.d, the groups mayfly and mayfly-users (`sudo "
            "groupdel mayfly`)"
        )
    elif here and active():
        line = "`sudo systemctl restart mayfly` uses this version; jobs go on meanwhile"
        say(paste.pasted(f"mayfly.service runs: {line}", paste.here(None)))
    else:
        started = "mayfly doctor, then sudo systemctl enable --now mayfly"
        following = started if DEFAULT_FILE.exists() else "mayfly init"
        say(paste.pasted(f"next: {following}", replace(paste.here(None), config=None)))


def put_in_place() -> list[str]:
    """Unit, groups, completions, man pages on this host; a line for each step, none where all is so."""
    if packaging.is_here():
        packaging.left_to_it(own_command())
        return []
    wanted, root = _wanted(), Path("/")
    steps = installation.plan(wanted, _present(wanted, root))
    lines = list(_taken(steps, root, here=True, dry_run=False))
    return lines if any(map(installation.tells_a_change, lines)) else []


def _taken(steps: Sequence[InstallStep], root: Path, *, here: bool, dry_run: bool) -> Iterator[str]:
    """Each step taken, or only told."""
    ends = any(step.path == GATEWAY and step.deed == "removed" for step in steps)
    # The manager that wanted it is stopped, and it is not.
    if ends and here and active(GATEWAY.name):
        command = ["systemctl", "stop", GATEWAY.name]
        if not dry_run:
            run(command)
        yield f"would run {' '.join(command)}" if dry_run else f"ran {' '.join(command)}"
    for step in steps:
        if not dry_run:
            _do(root, step)
        if not installation.is_page(step):
            yield installation.told(step, dry=dry_run)
    yield from installation.pages_told(steps, dry=dry_run)
    for command in _afterwards(steps, root, here=here):
        if not dry_run:
            run(command)
        yield f"would run {' '.join(command)}" if dry_run else f"ran {' '.join(command)}"


def _has(group: str) -> bool:
    try:
        return bool(grp.getgrnam(group))
    except KeyError:
        return False


def _stands(place: installation.Place) -> bool:
    """Whether a directory is there, is root's, and as open as it is to be."""
    try:
        found = place.path.lstat()
    except OSError:
        return False
    return S_ISDIR(found.st_mode) and (S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (
        place.mode,
        0,
        0,
    )


def _wanted() -> list[installation.InstalledFile]:
    return installation.files(_shipped(), own_command(), SCRIPTS, _man_pages())


def package_files(command: str) -> list[installation.InstalledFile]:
    """The same files as a distribution's package has them, which starts ``command``."""
    return packaging.files(_shipped(), command, SCRIPTS, _man_pages())


def _shipped() -> dict[str, str]:
    data = resources("mayfly") / "data" / "systemd"
    shipped = {name: (data / name).read_text(encoding="utf-8") for name in SHIPPED}
    return shipped | {"config.example.toml": _example()}


def _present(wanted: Sequence[installation.InstalledFile], root: Path) -> dict[Path, str]:
    """What stands in the places of those files and of man pages, where anything does."""
    pages = (
        path.relative_to(root) for path in (root / installation.MAN).glob("man[15]/mayfly*.[15]")
    )
    places = dict.fromkeys((*(want.path for want in wanted), *pages))
    return {path: text for path in places if (text := text_of(root / path)) is not None}


def _man_pages() -> dict[str, str]:
    from typer.main import get_command  # noqa: PLC0415

    from mayfly.cli.man_pages import man_pages  # noqa: PLC0415  brings every verb
    from mayfly.cli.verbs import app  # noqa: PLC0415

    return man_pages(get_command(app))


def _example() -> str:
    """A commented configuration for a host that nobody has looked at."""
    from mayfly.cli import init_text  # noqa: PLC0415

    pool = init_text.PoolAnswers(
        provider="local",
        name="local",
        slots=2,
        gpus=0,
    )
    return init_text.config_text(init_text.Found("gpu-host", None, gpus=0), pool)


def own_command() -> str:
    """Where this command is, as the unit is to start it."""
    own = Path(sys.argv[0])
    if own.name == "mayfly" and own.is_file():
        return str(own.absolute())
    found = shutil.which("mayfly") or str(Path(sys.executable).with_name("mayfly"))
    if not Path(found).is_file():
        raise Trouble(
            "where the command mayfly is installed is not to be seen: put it on the PATH; "
            "`mayfly help where` says how it is installed"
        )
    return found


def _do(root: Path, step: InstallStep) -> None:
    path = root / step.path
    try:
        if step.deed == "removed":
            path.unlink(missing_ok=True)
        elif step.deed in ("new", "changed"):
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            new.write_text(step.text, encoding="utf-8")
            new.chmod(0o644)
            new.replace(path)
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}; try sudo") from error


def _afterwards(steps: Sequence[InstallStep], root: Path, *, here: bool) -> list[list[str]]:
    """What makes the host take notice of the files."""
    touched = {step.path for step in steps if step.deed in ("new", "changed", "removed")}
    gone = {step.path for step in steps if step.deed == "removed"}
    commands: list[list[str]] = []
    if not here:
        return commands
    texts = {step.path: step.text for step in steps}
    stands = {
        SYSUSERS: all(map(_has, installation.groups(texts.get(SYSUSERS, "")))),
        TMPFILES: all(map(_stands, installation.places(texts.get(TMPFILES, "")))),
    }
    for path, words in (
        (SYSUSERS, ["systemd-sysusers", f"/{SYSUSERS}"]),
        (TMPFILES, ["systemd-tmpfiles", "--create", f"/{TMPFILES}"]),
    ):
        if path not in gone and (path in touched or ((root / path).exists() and not stands[path])):
            commands.append(words)
    if touched & {UNIT, GATEWAY, REFRESH, TIMER} and BOOTED.is_dir():
        commands.append(["systemctl", "daemon-reload"])
    return commands


def run(command: Sequence[str]) -> str:
    """Run something of the host's, and return what it says; ``Trouble`` where it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=180,  # the unit's TimeoutStartSec, and more
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Trouble(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        raise Trouble(f"{' '.join(command)} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def active(unit: str = UNIT.name) -> bool:
    """Whether systemd says that the manager runs, or another unit."""
    if not BOOTED.is_dir():
        return False
    asked = ["systemctl", "is-active", "--quiet", unit]
    return subprocess.run(asked, timeout=30, check=False).returncode == 0
