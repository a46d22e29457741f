"""What the help of a verb calls its options and arguments, and what a number that is none is told.

Typer's own words are its types' (``<int range>``, ``{CMD...}``). Applied to each verb as it is made; changes
words alone and never what a verb takes.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from mayfly.cli.trouble import Usage

ROOM = 66  # characters beside a verb's name in a terminal of 80 columns


def worded(command: Any) -> Any:
    """The command, or the group of commands, with words for people."""
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        worded(command.get_command(None, name))
    command.short_help = _short(command.help or "")
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            _unbraced(parameter)
        elif not parameter.is_flag:
            _named(parameter)
    return command


def _short(text: str) -> str:
    """As much of a verb's sentence as a line of the list has room for, cut where it pauses."""
    sentence = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    if len(sentence) <= ROOM:
        return sentence
    ends = [match.start() for match in re.finditer(r"[;:,] ", sentence) if match.start() < ROOM]
    return f"{sentence[: ends[-1]]}." if ends else sentence


def _unbraced(argument: Any) -> None:
    if argument.required and argument.metavar is not None:
        argument.make_metavar = lambda *_, **__: argument.metavar


def _named(option: Any) -> None:
    kind = option.type
    if hasattr(kind, "min") and hasattr(kind, "max"):
        option.metavar = option.metavar or "N"
        told = f"{max(option.opts, key=len)}: must be a whole number {_range(kind.min, kind.max)}"

        def fail(*_: object, **__: object) -> NoReturn:
            raise Usage(told)

        kind.fail = fail
    elif option.metavar is None and not getattr(kind, "choices", None):
        option.metavar = "TEXT"


def _range(least: int | None, most: int | None) -> str:
    return f"from {least} to {most}" if most is not None else f"of {least} or more"
