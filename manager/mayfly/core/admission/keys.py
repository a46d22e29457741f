"""The keys of a body as tables: what is read of each, by one spelling, and what becomes of it.

The Engine reads its bodies with a reader that takes ``privileged`` for ``Privileged``. So a key is known by
its letters, two spellings of one are refused, and what goes out is written by its one name. Clients send
every key that they know, most of them with nothing in it: what is refused, or not known, may be there so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mayfly.core.admission.outcome import Refused
from mayfly.core.admission.request import shown

Read = Callable[[Any, str], Any]
TEXT_MOST = 128 * 1024  # characters: an environment variable's most, by the kernel
LIST_MOST = 4096


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an object; ``does`` is what the reference says of it."""

    name: str
    does: str
    read: Read
    empty: bool = False  # whether it may be there with nothing in it alone


def refused(name: str, why: str) -> Key:
    """A key that has to be empty."""

    def read(_value: Any, where: str) -> None:
        raise Refused(f"{where} is refused: {why}")

    return Key(name, f"refused: {why}", read, empty=True)


def dropped(name: str, does: str = "not passed on") -> Key:
    """A key that means nothing here, or that the Engine itself does not read."""
    return Key(name, does, lambda _value, _where: None)


def read_keys(document: Any, keys: Iterable[Key], where: str = "") -> dict[str, Any]:
    """What the keys that are there and have something in them read; ``where``: of which object, with a dot.

    `Refused` names the key that is not known, is refused, or holds what it cannot.
    """
    if not isinstance(document, Mapping):
        raise Refused(f"{where.rstrip('.') or 'the body'} has to be an object", 400)
    known = {key.name.lower(): key for key in keys}
    read: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for name, value in document.items():
        key = known.get(name.lower())
        if key is None:
            if not is_nothing(value):
                raise Refused(
                    f"{where}{shown(name)[1:-1]} is not known to this socket: leave it out"
                )
            continue
        if key.name in spelled:
            told = f"{shown(spelled[key.name])} and {shown(name)}"
            raise Refused(f"{told} are one key, {where}{key.name}: say it once", 400)
        spelled[key.name] = name
        if value is None or (key.empty and is_nothing(value)):
            continue
        read[key.name] = key.read(value, f"{where}{key.name}")
    return {name: value for name, value in read.items() if value is not None}


def soft(document: Any, *names: str) -> Any:
    """What stands there, whatever it is; ``None``: nothing. For who looks before anything is judged."""
    for name in names:
        if not isinstance(document, Mapping):
            return None
        document = next(
            (value for key, value in document.items() if key.lower() == name.lower()), None
        )
    return document


def is_nothing(value: Any) -> bool:
    """Whether it is what a client sends that means to say nothing: null, false, 0, and what has only such."""
    if isinstance(value, Mapping):
        return all(is_nothing(one) for one in value.values())
    if isinstance(value, list):
        return all(is_nothing(one) for one in value)
    return value is None or value is False or value in {"", 0}


# -- what a value may be ---------------------------------------------------------------------------


def text(value: Any, where: str) -> str:
    """A text, without characters that would end a line or a string."""
    if not isinstance(value, str) or len(value) > TEXT_MOST or "\0" in value:
        raise Refused(f"{where} has to be a text", 400)
    return value


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Refused(f"{where} has to be true or false", 400)
    return value


def whole(low: int, high: int) -> Read:
    """A whole number between two."""

    def read(value: Any, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Refused(f"{where} has to be a whole number from {low} to {high}", 400)
        return value

    return read


def matching(pattern: Callable[[str], object], what: str) -> Read:
    """A text of a form; ``what`` names the form in a sentence."""

    def read(value: Any, where: str) -> str:
        if not pattern(text(value, where)):
            raise Refused(f"{where} has to be {what}, not {shown(value)}", 400)
        return str(value)

    return read


def each(read: Read) -> Read:
    """A list of such."""

    def reads(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list) or len(value) > LIST_MOST:
            raise Refused(f"{where} has to be a list", 400)
        return [read(one, f"{where}[{index}]") for index, one in enumerate(value)]

    return reads


def by_name(read: Read) -> Read:
    """An object whose keys are anybody's, each with such."""

    def reads(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping) or len(value) > LIST_MOST:
            raise Refused(f"{where} has to be an object", 400)
        return {
            text(name, where): read(one, f"{where}.{shown(name)}") for name, one in value.items()
        }

    return reads


def table(keys: tuple[Key, ...]) -> Read:
    """An object with the keys of another table."""
    return lambda value, where: read_keys(value, keys, f"{where}.")


def nothing_in(value: Any, where: str) -> dict[str, Any]:
    """An object without anything in it, or null."""
    if value not in (None, {}):
        raise Refused(f"{where} has to be an empty object", 400)
    return {}


def command(value: Any, where: str) -> list[str]:
    """The parts of a command; one text is one part, as the Engine reads it."""
    return [text(value, where)] if isinstance(value, str) else each(text)(value, where)


def anything(value: Any, _where: str) -> Any:
    """As it is: a rule reads it."""
    return value
