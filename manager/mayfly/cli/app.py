"""The command ``mayfly``: how it starts, and how it exits.

Starts often and must start fast: nothing is imported here that not every verb needs.
"""

from __future__ import annotations

import errno
import io
import os
import sys

from mayfly.cli import quick
from mayfly.cli.clean_terminal import finish, guard, let_go
from mayfly.cli.misread import trouble_of
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble

# Typer's options of before, which there are still.
COMPLETION = {
    "--install-completion": ["completion", "--install"],
    "--show-completion": ["completion"],
}
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE})


def main() -> None:
    """The entry point; exits with 0, or as ``trouble`` says; with 130, and silently, after ^C."""
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale may have no é, and no …
    if "_MAYFLY_COMPLETE" in os.environ:  # a shell asks what could be typed
        from mayfly.cli.shell_completion import answer  # noqa: PLC0415

        answer(os.environ)
    if sys.argv[1:2] and sys.argv[1] in COMPLETION:
        sys.argv[1:2] = COMPLETION[sys.argv[1]]
    guard()
    try:
        try:
            _run()
        finally:
            finish()
    except Trouble as trouble:
        say(str(trouble))
        sys.exit(trouble.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        let_go()
        if error.errno != errno.EPIPE:  # who has read enough knows
            say(f"standard output takes no more: {error.strerror}")
        sys.exit(1)
    except Exception as error:
        misread_answer = trouble_of(error)
        if misread_answer is None:
            raise
        say(str(misread_answer))
        sys.exit(misread_answer.code)


def _run() -> None:
    """What is typed most needs no parser; all else has Typer's, which takes as long to import as Python."""
    code = quick.run(sys.argv[1:])
    if code is not None:
        sys.exit(code)
    from mayfly.cli.verbs import app  # noqa: PLC0415  see above

    app(prog_name="mayfly")


def _open_what_is_closed() -> None:
    """Standard output or standard error that the caller closed (``>&-``) is nobody's."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


if __name__ == "__main__":
    main()
