"""A program `mayfly` for whoever calls it by its path, a git hook say, without the half second of imports.

    with Relayed(folder) as mayfly:
        subprocess.run([mayfly.path, "status"])

It hands its words, files, folder and environment to this process, which has a copy run them
(`tests/copies.py`). What the caller's limits and signals do to a process they do not do to that copy.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests import copies

MESSAGE = 128 * 1024  # bytes, at most, of words and environment
PROGRAM = """#!{python} -SE
import json, os, socket, sys
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
door.connect({door!r})
asked = {{"words": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
socket.send_fds(door, [json.dumps(asked).encode()], [0, 1, 2])
os._exit(int(door.recv(16) or 1))
"""


class Relayed:
    """The program, and who does what it is asked for; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mayfly"
        door = folder / "door"
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.bind(str(door))
        self._door.listen(8)
        self.path.write_text(PROGRAM.format(python=sys.executable, door=str(door)))
        self.path.chmod(0o755)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(caller,), daemon=True).start()

    def _run(self, caller: socket.socket) -> None:
        with caller:
            message, files, _, _ = socket.recv_fds(caller, MESSAGE, 3)
            asked = json.loads(message)
            words = (*copies.MAYFLY, *asked["words"])
            stdin, stdout, stderr = files
            try:
                copy = copies.start(
                    words, asked["environment"], (stdin, stdout, stderr), folder=asked["folder"]
                )
            finally:
                for number in files:
                    os.close(number)
            code = copy.wait() & 0xFF
            with suppress(BrokenPipeError):  # whoever called it has ended before
                caller.send(b"%d" % code)
