"""What is said where a manager elsewhere, of another box or of a cluster, answered something of which a verb
could make nothing: it may be of another version, or mean harm. It costs a sentence, and never a traceback.

What a manager of this host answers is its own: there a traceback is a bug, and shows where.
"""

from __future__ import annotations

from pathlib import Path

from mayfly.cli.trouble import Trouble

NOT_UNDERSTOOD = "its answer is not understood ({}): has it another version of Mayfly?"

_asked: dict[str, str] = {}  # whom this command has asked elsewhere, and what says their version


def asked(name: str, version: str = "") -> None:
    """Somebody elsewhere is asked; ``version`` is the line that shows which version is there, if one does."""
    _asked[name] = version


def trouble_of(error: Exception) -> Trouble | None:
    """What is to be said of an error that nobody has foreseen; ``None``: nobody elsewhere was asked."""
    if not _asked:
        return None
    sentence = NOT_UNDERSTOOD.format(f"{type(error).__name__}{_place(error)}")
    return Trouble(
        "\n  ".join((f"{', '.join(_asked)}: {sentence}", *filter(None, _asked.values())))
    )


def _place(error: Exception) -> str:
    """In which line of ours it came up, for whoever reports it."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "mayfly" in file.parts:
            found = f" in {file.name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found
