"""`--host BOX`: the control socket of a manager on another box, reached as a person reaches the box, by ssh.

A connection is `ssh BOX mayfly relay` (``cli/relay.py``), whose streams are the connection: no port is
opened, and the box's manager sees the user who logged in. Keys, users, ports and jumps are those of ssh's own
configuration. What goes wrong before a connection stands is a ``Trouble`` in one sentence, with ssh's last
line in it.

A command that connects again does so beside its first login, by a master of ssh's own that ends with the
command, unless the configuration of ssh has masters of its own. Nothing here writes what a box says to a
terminal: it is cleaned, and short.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from mayfly.cli.box_names import label
from mayfly.cli.relay import GREETING
from mayfly.cli.trouble import Denied, Down, TimedOut, Trouble, Usage
from mayfly.core.plain_text import clean, shortened
from mayfly.core.quantities import whole_number

SSH = "ssh"
# what is run there; a key may be bound to it (`command=` of authorized_keys)
RELAY = "mayfly relay"
CONNECT = 10  # seconds for ssh to reach a box, where its configuration says none
LOGIN = 15.0  # seconds more, until the relay there has greeted
QUESTIONS = 120.0  # the same where ssh may ask a person: a server gives them as long
LIVES = 60  # seconds that a master without anybody goes on, if a command could not end it
ALIVE = 15  # seconds between ssh's own questions whether the other side is there; three go without answer
NOISE_MAX = (
    64 * 1024
)  # bytes that a login there may print before the relay greets, and that are kept
SAID = 1.0  # seconds for what ssh has said last to be read, once it has ended
PATH_MAX = 85  # bytes of a master's socket: ssh puts 17 behind it, and a socket's path has 108
PLAIN = re.compile(r"[A-Za-z0-9/._-]+")  # a path that ssh takes as it is
WORDS_MAX = 300
OLD = "No such command"  # Typer, of a verb that it does not know
FIXED = (
    *("-T", "-x", "-a"),
    *("-oClearAllForwardings=yes", "-oRemoteCommand=none", "-oLogLevel=ERROR"),
)
BAD_LOGIN, NOT_FOUND = 255, 127  # ssh's own exit code, and a shell's


@cache
def box(name: str, *, alone: bool) -> Box:
    """The same box for all of a command's life."""
    return Box(name, alone=alone)


class Box:
    """How one box is reached while a command runs."""

    def __init__(self, box: str, *, alone: bool) -> None:
        """``alone``: no other box is asked at the same time, so that ssh may ask for a passphrase."""
        self.box = box
        self.name = label(box)
        self._alone = alone
        self._options: tuple[str, ...] | None = None
        self._seconds = 0.0
        self._begun: list[subprocess.Popen[bytes]] = []
        self._folder: str | None = None

    def connected(self, timeout: float) -> socket.socket:
        """A connection to the manager there, which waits so many seconds; every failure is a ``Trouble``."""
        options = self._known()
        here, there = socket.socketpair()
        ends = there.fileno()
        with there:
            try:
                process = subprocess.Popen(
                    (SSH, *options, "--", self.box, RELAY),
                    stdin=ends, stdout=ends, stderr=subprocess.PIPE,
                )  # fmt: skip
            except OSError as error:
                here.close()
                raise _no_ssh(error) from error
            self._begun = [one for one in self._begun if one.poll() is None] + [process]
        try:
            self._greeted(here, process, Said(process.stderr))
        except BaseException:
            here.close()
            process.kill()
            raise
        here.settimeout(timeout)
        return here

    def close(self) -> None:
        """End what is left of ssh."""
        for process in self._begun:
            if process.poll() is None:
                process.kill()
        if self._folder is None:
            return
        # (Whoever presses ^C again has it sooner: a master without anybody ends by itself.)
        with suppress(OSError, subprocess.TimeoutExpired, KeyboardInterrupt):
            subprocess.run(
                (SSH, "-Oexit", *self._master(self._folder), "--", self.box),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=2,
                check=False,
            )
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- what ssh is told ------------------------------------------------------------------------------

    def _known(self) -> tuple[str, ...]:
        """The options of each call; what is configured for the box is asked once."""
        if self._options is None:
            configured = _configured(self.box, self.name)
            seconds = whole_number(configured.get("connecttimeout", ""))
            own = [] if seconds else [f"-oConnectTimeout={CONNECT}"]
            asks = not self._quiet and sys.stderr.isatty()  # a person who may be there
            self._seconds = (seconds or CONNECT) + (QUESTIONS if asks else LOGIN)
            if configured.get("serveraliveinterval", "0") == "0":
                own.append(f"-oServerAliveInterval={ALIVE}")
            if self._quiet:
                own.append("-oBatchMode=yes")
            if configured.get("controlpath", "none") == "none":
                own += self._masters()
            self._options = (*FIXED, *own)
            atexit.register(self.close)
        return self._options

    @property
    def _quiet(self) -> bool:
        """Whether ssh may ask nobody anything: two that ask at once would take each other's answers."""
        return not self._alone

    def _masters(self) -> Sequence[str]:
        folder = tempfile.mkdtemp(prefix="mayfly-")
        # (ssh makes something of blanks and of some signs in a path.)
        if len(os.fsencode(folder)) > PATH_MAX or PLAIN.fullmatch(folder) is None:
            Path(folder).rmdir()
            return ()
        self._folder = folder
        return ("-oControlMaster=auto", f"-oControlPersist={LIVES}", *self._master(folder))

    @staticmethod
    def _master(folder: str) -> Sequence[str]:
        return (f"-oControlPath={folder}/s",)

    # -- what comes of it ------------------------------------------------------------------------------

    def _greeted(self, here: socket.socket, process: subprocess.Popen[bytes], said: Said) -> None:
        """Read up to the relay's greeting and no further; a ``Trouble`` where it never comes to that.

        What a login there prints before it (a shell's start files do) is passed over.
        """
        last, came = time.monotonic() + self._seconds, bytearray()
        while not came.endswith(GREETING):
            left = last - time.monotonic()
            if left <= 0:
                raise TimedOut(f"{self.name} does not answer over ssh within {self._seconds:.0f} s")
            here.settimeout(left)
            try:
                # The manager there says nothing before it is asked, so nothing is taken from what follows.
                data = here.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            came += data
            if not data:
                code = _code_of(process)
                raise self._trouble(code, said.last_line() or _last_line(bytes(came)))
            if len(came) > NOISE_MAX:
                raise Trouble(
                    f"a login on {self.name} prints without end: no manager is to be heard"
                )

    def _trouble(self, code: int, words: str) -> Trouble:
        """Why it did not come to the manager there."""
        match code:
            case code if code == BAD_LOGIN:
                return self._not_reached(words)
            case Down.code:
                return Down(
                    f"the manager on {self.name} is not running: {words}\n"
                    f"  start it: ssh -t {self.box} sudo systemctl start mayfly"
                )
            case code if code == NOT_FOUND:
                return Trouble(
                    f"{self.name} has no program mayfly where ssh looks for it: {words or 'no such command'}"
                )
            case Usage.code if OLD in words:
                return Trouble(
                    f"the Mayfly on {self.name} is too old for --host: install a newer one"
                )
            case Denied.code:
                return Denied(f"{self.name}: {words or 'it did not come to the manager'}")
        return Trouble(
            f"{self.name}: it did not come to the manager: {words or f'ssh ended with {code}'}"
        )

    def _not_reached(self, words: str) -> Trouble:
        refused = "Permission denied" in words or "verification failed" in words
        why = f"{self.name} is not reached over ssh: {words or 'ssh does not say why'}"
        if refused and self._quiet:
            return Denied(
                f"{why}\n  where several boxes are asked ssh asks nobody: ssh-add, and once by hand: "
                f"ssh {self.box}"
            )
        return Denied(f"{why}\n  try it: ssh {self.box}") if refused else Down(why)


def _configured(box: str, name: str) -> Mapping[str, str]:
    """What ssh's own configuration says of the box, by keyword; nothing is reached for that."""
    try:
        done = subprocess.run(
            (SSH, "-G", "--", box),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}
    except OSError as error:
        raise _no_ssh(error) from error
    if done.returncode:
        words = _last_line(done.stderr) or f"ssh -G ended with {done.returncode}"
        raise Usage(f"--host {name}: {words}")
    lines = done.stdout.decode(errors="replace").splitlines()
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}


def _no_ssh(error: OSError) -> Trouble:
    return Trouble(
        f"--host needs the program ssh, which cannot be run here: {error.strerror or error}"
    )


def _code_of(process: subprocess.Popen[bytes]) -> int:
    """How ssh ended, which closes its streams before it does."""
    try:
        return process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        return BAD_LOGIN


class Said:
    """What ssh says beside the connection, for as long as that stands: read to its end, so that nothing is
    held up, and only the last of it kept, since a box may say it without end.
    """

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._last = b""
        self._reading = threading.Thread(
            target=self._read, args=(stream,), name="what ssh says", daemon=True
        )
        self._reading.start()

    def last_line(self) -> str:
        """The last line of it, once ssh has ended; what it began may go on and have the rest."""
        self._reading.join(SAID)
        return _last_line(self._last)

    def _read(self, stream: IO[bytes] | None) -> None:
        if stream is None:
            return
        with stream, suppress(OSError, ValueError):
            while piece := os.read(stream.fileno(), NOISE_MAX):
                self._last = (self._last + piece)[-NOISE_MAX:]


def _last_line(data: bytes) -> str:
    lines = [clean(line).strip() for line in data.decode(errors="replace").splitlines()]
    return shortened(next((line for line in reversed(lines) if line), ""), WORDS_MAX)
