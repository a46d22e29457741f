"""What the help of a verb calls its options and arguments, its examples, and what no number is told.

Typer's own words are its types' (``<int range>``, ``{CMD...}``). Applied to each verb as it is made; changes
words alone and never what a verb takes.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from mayfly.cli.examples import EXAMPLES, Example
from mayfly.cli.trouble import Usage

ROOM = 66  # characters beside a verb's name in a terminal of 80 columns


def worded(command: Any, verb: str) -> Any:
    """The command, or the group of commands, with words for people; ``verb`` is how it is called."""
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        worded(command.get_command(None, name), f"{verb} {name}")
    if examples := EXAMPLES.get(verb):
        command.format_epilog = lambda _, formatter: _exemplified(formatter, examples)
    command.short_help = short(command.help or "")
    for parameter in command.params:
        completed(parameter, verb)
        if parameter.param_type_name == "argument":
            _unbraced(parameter)
        elif not parameter.is_flag:
            _named(parameter)
    return command


def completed(parameter: Any, verb: str) -> None:
    """A value is completed by what help calls it, else as it says itself."""
    otherwise = parameter.shell_complete

    def complete(context: Any, word: str) -> list[Any]:
        from mayfly.cli.shell_completion import items  # noqa: PLC0415  where a shell asks

        return items(context, parameter, verb, word, otherwise)

    parameter.shell_complete = complete


def _exemplified(formatter: Any, examples: tuple[Example, ...]) -> None:
    """The examples under a heading; what is typed stays on its line, so that it can be pasted."""
    formatter.write("\nExamples:\n")
    for example in examples:
        formatter.write(f"  {example.does}:\n    {example.typed}\n")


def short(text: str) -> str:
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
