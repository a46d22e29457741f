"""What ``mayfly install`` puts on a host: pure, places and texts in, steps out.

A file that Mayfly did not write is never replaced or removed: each of ours says so in a line of its own.
The configuration and the state are nobody's to take away but the operator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MARK = "written by `mayfly install`"
SHIPPED_COMMAND = "/usr/local/bin/mayfly"  # as the unit in the package names it
UNIT = Path("etc/systemd/system/mayfly.service")
GATEWAY = Path("etc/systemd/system/mayfly-gateway.service")
REFRESH = Path("etc/systemd/system/mayfly-refresh.service")
TIMER = Path("etc/systemd/system/mayfly-refresh.timer")
SYSUSERS = Path("etc/sysusers.d/mayfly.conf")
TMPFILES = Path("etc/tmpfiles.d/mayfly.conf")
EXAMPLE = Path("etc/mayfly/config.example.toml")
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


def files(
    shipped: Mapping[str, str], command: str, completions: Mapping[str, str]
) -> list[InstalledFile]:
    """Every file of an installation whose command is at ``command``, an absolute path.

    ``shipped`` holds the files of the package by name, ``completions`` a script for each shell.
    """
    unit, gateway, refresh = (
        shipped[name].replace(SHIPPED_COMMAND, command)
        for name in ("mayfly.service", "mayfly-gateway.service", "mayfly-refresh.service")
    )
    return [
        InstalledFile(UNIT, marked(unit)),
        InstalledFile(GATEWAY, marked(gateway)),
        InstalledFile(REFRESH, marked(refresh)),
        InstalledFile(TIMER, marked(shipped["mayfly-refresh.timer"])),
        InstalledFile(SYSUSERS, marked(shipped["sysusers.conf"])),
        InstalledFile(TMPFILES, marked(shipped["tmpfiles.conf"])),
        InstalledFile(EXAMPLE, marked(shipped["config.example.toml"])),
        *(InstalledFile(COMPLETIONS[shell], marked(text)) for shell, text in completions.items()),
    ]


def marked(text: str) -> str:
    """The text with the line that says whose it is; behind a first line that has a meaning of its own."""
    first, _, rest = text.lstrip("\n").partition("\n")
    line = f"# {MARK}: written again by the next one"
    if first.startswith(("#compdef", "#!")):
        return f"{first}\n{line}\n{rest.rstrip()}\n"
    return f"{line}\n{first}\n{rest.rstrip()}\n"


def plan(wanted: list[InstalledFile], present: Mapping[Path, str]) -> list[InstallStep]:
    """What installing does, given the files that are there already."""
    return [
        InstallStep(want.path, _deed(want, present.get(want.path)), want.text) for want in wanted
    ]


def removal(wanted: list[InstalledFile], present: Mapping[Path, str]) -> list[InstallStep]:
    """What uninstalling does."""
    steps: list[InstallStep] = []
    for want in wanted:
        text = present.get(want.path)
        if text is None:
            steps.append(InstallStep(want.path, "absent"))
        else:
            steps.append(InstallStep(want.path, "removed" if MARK in text else "foreign"))
    return steps


def _deed(want: InstalledFile, text: str | None) -> Deed:
    if text is None:
        return "new"
    if text == want.text:
        return "same"
    return "changed" if MARK in text else "foreign"


def told(step: InstallStep, *, dry: bool) -> str:
    """The step as a line for people."""
    words: dict[Deed, tuple[str, str]] = {
        "new": ("wrote", "would write"),
        "changed": ("wrote again", "would write again"),
        "same": ("is as it should be", "is as it should be"),
        "foreign": ("left alone, Mayfly did not write it", "would be left alone"),
        "removed": ("removed", "would remove"),
        "absent": ("is not there", "is not there"),
    }
    done, would = words[step.deed]
    word = would if dry else done
    path = f"/{step.path}"
    return f"{path} {word}" if step.deed in ("same", "foreign", "absent") else f"{word} {path}"
