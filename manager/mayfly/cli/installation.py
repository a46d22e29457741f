"""What ``mayfly install`` puts on a host: pure, places and texts in, steps out.

A file that Mayfly did not write is never replaced or removed: each of ours says so in a line of its own.
The configuration and the state are nobody's to take away but the operator's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MARK = "written by `mayfly install`"
COMMENT = '.\\"'  # what begins a comment in a man page
SHIPPED_COMMAND = "/usr/local/bin/mayfly"  # as the unit in the package names it
UNIT = Path("etc/systemd/system/mayfly.service")
GATEWAY = Path("etc/systemd/system/mayfly-gateway.service")
REFRESH = Path("etc/systemd/system/mayfly-refresh.service")
TIMER = Path("etc/systemd/system/mayfly-refresh.timer")
SYSUSERS = Path("etc/sysusers.d/mayfly.conf")
TMPFILES = Path("etc/tmpfiles.d/mayfly.conf")
EXAMPLE = Path("etc/mayfly/config.example.toml")
MAN = Path("usr/local/share/man")
COMPLETIONS = {
    "bash": Path("usr/local/share/bash-completion/completions/mayfly"),
    "zsh": Path("usr/local/share/zsh/site-functions/_mayfly"),
    "fish": Path("usr/local/share/fish/vendor_completions.d/mayfly.fish"),
}

Deed = Literal["new", "changed", "same", "foreign", "removed", "absent"]


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """A file as it is to be, below the root of the host."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class InstallStep:
    """What is done about one file."""

    path: Path
    deed: Deed
    text: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of root's that systemd-tmpfiles is to make."""

    path: Path
    mode: int


def groups(text: str) -> list[str]:
    """The groups that a file for systemd-sysusers names (sysusers.d(5)); ours has no other kind of line."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("g ")]


def places(text: str) -> list[Place]:
    """The directories that a file for systemd-tmpfiles names (tmpfiles.d(5)); ours are all root's."""
    rows = (line.split() for line in text.splitlines() if line.startswith("d "))
    return [Place(Path(path), int(mode, 8)) for _, path, mode, *_ in rows]


def files(
    shipped: Mapping[str, str],
    command: str,
    completions: Mapping[str, str],
    pages: Mapping[str, str],
) -> list[InstalledFile]:
    """Every file of an installation, with the line that says whose it is; see `unmarked_files`."""
    bare = unmarked_files(shipped, command, completions, pages)
    return [InstalledFile(file.path, marked(file.text)) for file in bare]


def unmarked_files(
    shipped: Mapping[str, str],
    command: str,
    completions: Mapping[str, str],
    pages: Mapping[str, str],
) -> list[InstalledFile]:
    """Every file of an installation whose command is at ``command``, an absolute path.

    ``shipped`` holds the files of the wheel by name, ``completions`` a script for each shell, ``pages``
    the man pages by name.
    """
    unit, gateway, refresh = (
        shipped[name].replace(SHIPPED_COMMAND, command)
        for name in ("mayfly.service", "mayfly-gateway.service", "mayfly-refresh.service")
    )
    return [
        InstalledFile(UNIT, unit),
        InstalledFile(GATEWAY, gateway),
        InstalledFile(REFRESH, refresh),
        InstalledFile(TIMER, shipped["mayfly-refresh.timer"]),
        InstalledFile(SYSUSERS, shipped["sysusers.conf"]),
        InstalledFile(TMPFILES, shipped["tmpfiles.conf"]),
        InstalledFile(EXAMPLE, shipped["config.example.toml"]),
        *(InstalledFile(COMPLETIONS[shell], text) for shell, text in completions.items()),
        *(InstalledFile(man_place(page), text) for page, text in pages.items()),
    ]


def man_place(page: str) -> Path:
    """Where a man page belongs, such as ``mayfly-drain.1``."""
    return MAN / f"man{page[-1]}" / page


def marked(text: str) -> str:
    """The text with the line that says whose it is; behind a first line that has a meaning of its own."""
    first, _, rest = text.lstrip("\n").partition("\n")
    line = f"{COMMENT if first.startswith('.TH') else '#'} {MARK}: written again by the next one"
    if first.startswith(("#compdef", "#!")):
        return f"{first}\n{line}\n{rest.rstrip()}\n"
    return f"{line}\n{first}\n{rest.rstrip()}\n"


def plan(wanted: list[InstalledFile], present: Mapping[Path, str]) -> list[InstallStep]:
    """What installing does, given the files that are there already; a page of ours that is no more goes."""
    steps = [
        InstallStep(want.path, _deed(want, present.get(want.path)), want.text) for want in wanted
    ]
    return [*steps, *(InstallStep(path, "removed") for path in _former(wanted, present))]


def _former(wanted: list[InstalledFile], present: Mapping[Path, str]) -> list[Path]:
    """Pages that an earlier version wrote, of verbs that are no more."""
    named = {want.path for want in wanted}
    return [path for path, text in present.items() if path not in named and MARK in text]


def removal(wanted: list[InstalledFile], present: Mapping[Path, str]) -> list[InstallStep]:
    """What uninstalling does."""
    steps: list[InstallStep] = []
    for want in wanted:
        text = present.get(want.path)
        if text is None:
            steps.append(InstallStep(want.path, "absent"))
        else:
            steps.append(InstallStep(want.path, "removed" if MARK in text else "foreign"))
    return [*steps, *(InstallStep(path, "removed") for path in _former(wanted, present))]


def _deed(want: InstalledFile, text: str | None) -> Deed:
    if text is None:
        return "new"
    if text == want.text:
        return "same"
    return "changed" if MARK in text else "foreign"


def is_page(step: InstallStep) -> bool:
    """Whether it is one of the many man pages, of which nobody reads a line each."""
    return step.path.is_relative_to(MAN) and step.deed != "foreign"


def pages_told(steps: Sequence[InstallStep], *, dry: bool) -> Iterator[str]:
    """A line for all man pages of which the same comes."""
    for deed, number in Counter(step.deed for step in steps if is_page(step)).items():
        pages = f"{number} man page{'s' if number > 1 else ''} below /{MAN}"
        yield _told(pages, deed, dry=dry, are=number > 1)


def told(step: InstallStep, *, dry: bool) -> str:
    """The step as a line for people."""
    return _told(f"/{step.path}", step.deed, dry=dry)


def tells_a_change(line: str) -> bool:
    """Whether a line is of something that was done, or would be: not of what stays as it is."""
    return line.startswith(("wrote ", "would ", "removed ", "ran "))


def _told(what: str, deed: Deed, *, dry: bool, are: bool = False) -> str:
    words: dict[Deed, tuple[str, str]] = {
        "new": ("wrote", "would write"),
        "changed": ("wrote again", "would write again"),
        "same": ("are as they should be",) * 2 if are else ("is as it should be",) * 2,
        "foreign": ("left alone, Mayfly did not write it", "would be left alone"),
        "removed": ("removed", "would remove"),
        "absent": ("are not there",) * 2 if are else ("is not there",) * 2,
    }
    done, would = words[deed]
    word = would if dry else done
    return f"{what} {word}" if deed in ("same", "foreign", "absent") else f"{word} {what}"
