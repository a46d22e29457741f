"""Mayfly as a distribution's package: where its files are, and what is left to the package where it is there.

The units, the man pages and the rest are the same texts that ``mayfly install`` writes, in the places that
belong to packages. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mayfly.cli import installation
from mayfly.cli.installation import InstalledFile
from mayfly.cli.trouble import Trouble

COMMAND = "/usr/bin/mayfly"
UNIT = Path("/usr/lib/systemd/system/mayfly.service")
# Where ``mayfly install`` puts a file, and where a package does: the first that fits.
PLACES = {
    "etc/systemd/system/": "usr/lib/systemd/system/",
    "etc/sysusers.d/": "usr/lib/sysusers.d/",
    "etc/tmpfiles.d/": "usr/lib/tmpfiles.d/",
    "etc/mayfly/config.example.toml": "usr/share/doc/mayfly/examples/config.toml",
    "usr/local/share/zsh/site-functions/": "usr/share/zsh/vendor-completions/",
    "usr/local/share/": "usr/share/",
}


def files(
    shipped: Mapping[str, str],
    command: str,
    completions: Mapping[str, str],
    pages: Mapping[str, str],
) -> list[InstalledFile]:
    """Every file of a package beside the program itself; the arguments are those of `installation.files`."""
    bare = installation.unmarked_files(shipped, command, completions, pages)
    return [InstalledFile(_place(file.path), file.text.lstrip("\n")) for file in bare]


def _place(path: Path) -> Path:
    own = str(path)
    host, package = next(row for row in PLACES.items() if own.startswith(row[0]))
    return Path(package + own.removeprefix(host))


def is_here(unit: Path = UNIT) -> bool:
    """Whether a package of Mayfly is installed on this host."""
    return unit.is_file()


def left_to_it(command: str, *, uninstall: bool = False) -> str:
    """What to say instead of writing files; ``Trouble`` where ``command`` is another, or files are to go."""
    if Path(command).resolve() != Path(COMMAND).resolve():
        raise Trouble(
            f"the package mayfly is installed here, and its {COMMAND} is the one to type; for {command} "
            "instead: sudo apt remove mayfly"
        )
    if uninstall:
        raise Trouble("the package mayfly has put these files here: sudo apt remove mayfly")
    return "the package mayfly has put the units, the groups, the completions and the man pages in place"
