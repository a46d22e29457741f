"""The program `ssh` as a person's command has it, for boxes that are control sockets of this machine.

What it is asked for it does as OpenSSH does: `-G` tells what is configured, `-O exit` ends a master, anything
else runs the command by a shell, with its streams. A box may fail in each way that one does: ``fails`` has
lines of a shell that run instead of a login.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """#!/bin/sh
# ssh [OPTION…] -- BOX [COMMAND]
does=run options=
while [ "$1" != -- ]; do
  case $1 in -G) does=tell ;; -Oexit) does=end ;; esac
  options="$options $1"
  shift
done
box=${{2##*@}}
home={home}/$box
if [ "$does" = tell ]; then
  [ ! -e "$home/refuses" ] || {{ cat "$home/refuses" >&2; exit 255; }}
  cat "$home/config"
elif [ "$does" = run ]; then
  printf '%s\\n' "$options -- $2 $3" >>"$home/asked"
  [ ! -e "$home/fails" ] || . "$home/fails"
  MAYFLY_HOST__SOCKET=$home/control.sock PATH={home}/programs:/usr/bin:/bin exec sh -c "$3"
fi
"""
CONFIGURED = "controlpath none\nconnecttimeout none\nserveraliveinterval 0\n"
DOWN = 'echo "ssh: connect to host $box port 22: Connection refused" >&2; exit 255'


@dataclass
class FakeSsh:
    """The program, in a folder of its own, and the boxes that it knows."""

    home: Path

    def __post_init__(self) -> None:
        """Write the program down."""
        self.programs = self.home / "bin"  # what is here, a person's command finds first
        self.programs.mkdir(parents=True)
        (self.home / "programs").mkdir()  # of each box
        program = self.programs / "ssh"
        program.write_text(PROGRAM.format(home=self.home))
        program.chmod(0o755)

    def box(self, name: str) -> Path:
        """A box that was not there before: where its manager's socket is."""
        (self.home / name).mkdir()
        (self.home / name / "config").write_text(CONFIGURED)
        return self.home / name / "control.sock"

    def configured(self, name: str, lines: str) -> None:
        """What ssh's configuration says of it."""
        (self.home / name / "config").write_text(lines)

    def fails(self, name: str, lines: str = DOWN) -> None:
        """Nobody gets in there: these lines of a shell run instead."""
        (self.home / name / "fails").write_text(lines)

    def asked(self, name: str) -> list[str]:
        """The calls that reached the box: options, box and command."""
        file = self.home / name / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def has(self, program: Path) -> None:
        """Each box has that program, by its name."""
        shutil.copy(program, self.home / "programs" / program.name)
