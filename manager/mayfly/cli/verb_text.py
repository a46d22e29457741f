"""A verb as text: how it is called, what it does, options and examples; for man pages and the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mayfly.cli.examples import EXAMPLES, Example

SHARED = {"--socket", "--config", "--host", "--help"}  # said once, for all verbs


@dataclass(frozen=True, slots=True)
class OptionText:
    """An option as it is typed, the long name first."""

    names: tuple[str, ...]
    value: str  # what stands behind it; nothing behind a flag
    does: str


@dataclass(frozen=True, slots=True)
class VerbText:
    """A verb, one of a group by both words."""

    name: str
    arguments: tuple[str, ...]
    does: str
    options: tuple[OptionText, ...]  # without those of every verb
    examples: tuple[Example, ...]

    @property
    def called(self) -> str:
        """How it is called, in a line."""
        return " ".join((self.name, *(["[OPTIONS]"] if self.options else []), *self.arguments))


def verb_texts(group: Any, before: str = "") -> Iterator[VerbText]:
    """Every verb in the order of the help."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from verb_texts(command, f"{before}{name} ")
        else:
            yield _text(f"{before}{name}", command)


def options_of(command: Any) -> tuple[OptionText, ...]:
    """All options of a command, those of every verb too."""
    return tuple(_option(one) for one in command.params if one.param_type_name == "option")


def _text(name: str, command: Any) -> VerbText:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    return VerbText(
        name,
        tuple(str(one.metavar or one.name.upper()) for one in arguments),
        command.help.strip(),
        tuple(one for one in options_of(command) if not SHARED & {*one.names}),
        EXAMPLES[name],
    )


def _option(parameter: Any) -> OptionText:
    names = tuple(sorted(parameter.opts, key=len, reverse=True))
    if parameter.is_flag:
        return OptionText(names, "", parameter.help)
    choices = getattr(parameter.type, "choices", None) or ()
    values = "|".join(str(getattr(one, "value", one)) for one in choices)
    number = "int" in type(parameter.type).__name__.lower()
    value = values or parameter.metavar or ("N" if number else "TEXT")
    return OptionText(names, str(value), parameter.help)
