"""What a shell asks where somebody presses TAB, and what it is told: names, or that it is a file or a folder.

Ends within a second whatever does not answer, and prints nothing but that: a shell shows everything.
What is offered is never evaluated by any shell (docs/adr/0058).
"""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import FrameType
from typing import Any

from mayfly.cli.completion import Candidate, Place, Typed, offered

ASKS = "_MAYFLY_COMPLETE"  # which shell asks; the variable that Typer's scripts set too
SECONDS = 1.0  # for all of it
OLD = {"complete_bash": "COMP_WORDS", "complete_zsh": "_TYPER_COMPLETE_ARGS"}
OLD_FISH = "complete_fish"
LISTS = frozenset({"63", "33", "64"})  # COMP_TYPE of bash where names are shown, not typed


@dataclass(frozen=True, slots=True)
class Line:
    """A command line as far as it is typed."""

    words: tuple[str, ...]  # behind `mayfly`, whole ones
    word: str  # the one that is begun


def answer(environ: Mapping[str, str]) -> None:
    """Print what the shell is to offer, and end the process."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    text = ""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            text = told(environ[ASKS], environ)
    except (Exception, SystemExit):  # noqa: BLE001  whatever it is, it is not for a shell
        text = ""
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = 0 if text or environ[ASKS] != OLD_FISH else 1
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        code = 1
    os._exit(code)  # what is still on its way somewhere keeps nobody waiting


def _give_up(_: int, __: FrameType | None) -> None:
    os._exit(0)


def told(shell: str, environ: Mapping[str, str]) -> str:
    """What is printed for that shell, by the variables that it has set."""
    line = _line(shell, environ)
    found = offers(line)
    if shell in OLD or shell == OLD_FISH:
        return _as_before(shell, found)
    if isinstance(found, Place):
        return f"{found}\n"
    head = _head(line.word)
    named = [Candidate(head + one.value, one.about) for one in found]
    if shell == "bash":
        return "words\n" + _for_bash(named, line.word, environ)
    return "words\n" + "".join(f"{one.value}\t{one.about}\n" for one in named)


def _line(shell: str, environ: Mapping[str, str]) -> Line:
    if shell == "complete_bash":
        words = environ["COMP_WORDS"].split("\n")
        at = int(environ["COMP_CWORD"])
        return Line(tuple(words[1:at]), words[at] if at < len(words) else "")
    if shell in ("complete_zsh", OLD_FISH, "bash"):
        text = environ["COMP_LINE" if shell == "bash" else "_TYPER_COMPLETE_ARGS"]
        words = _split(text)[1:]
        whole = not words or text[-1:].isspace()
        return Line(tuple(words), "") if whole else Line(tuple(words[:-1]), words[-1])
    return Line(tuple(environ["_MAYFLY_BEFORE"].split("\n")[1:]), environ["_MAYFLY_WORD"])


def _split(text: str) -> list[str]:
    """The words of a line that may end within quotes."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words.append(lexer.token)
    return words


def offers(line: Line) -> Place | list[Candidate]:
    """What the word that is begun may become; an option's value without the option before it."""
    from typer._click.shell_completion import ShellComplete  # noqa: PLC0415
    from typer.main import get_command  # noqa: PLC0415

    from mayfly.cli.verbs import app  # noqa: PLC0415

    class Asked(ShellComplete):
        name, source_template = "mayfly", ""

        def source_vars(self) -> dict[str, Any]:
            return {}

        def get_completion_args(self) -> tuple[list[str], str]:
            return list(line.words), line.word

        def format_completion(self, item: Any) -> str:
            return str(item.value)

    asked = Asked(get_command(app), {"obj": line.words}, "mayfly", ASKS)
    found = asked.get_completions(list(line.words), line.word)
    if not found and not line.word:  # no value is wanted: an option may come
        found = asked.get_completions(list(line.words), "-")
    if found and found[0].type in tuple(Place):
        return Place(found[0].type)
    named = (Candidate(str(one.value), one.help or "") for one in found if one.type == "plain")
    by_name = {one.value: one for one in named}
    long = {one.about for name, one in by_name.items() if name.startswith("--")}
    return [
        one
        for name, one in by_name.items()
        if not (re.fullmatch("-[a-z]", name) and one.about in long) or name == line.word
    ]


def items(
    context: Any,
    parameter: Any,
    verb: str,
    word: str,
    otherwise: Callable[[Any, str], list[Any]],
) -> list[Any]:
    """What a value may become, as Typer has it; ``otherwise`` asks whom no name leads to.

    Never empty, since that means that no value is wanted.
    """
    from typer._click.shell_completion import CompletionItem  # noqa: PLC0415

    own = otherwise(context, word)
    words = context.find_root().obj
    given: dict[str, Any] = {}
    while context is not None:
        given = {**{k: v for k, v in context.params.items() if v is not None}, **given}
        context = context.parent
    found = offered(parameter, Typed(verb, given, words, word))
    if isinstance(found, Place):
        return [CompletionItem(word, type=str(found))]
    named = [CompletionItem(one.value, help=one.about) for one in found]
    return named or own or [CompletionItem(word, type="none")]


def _head(word: str) -> str:
    """What of the word is an option, where its value is begun in the same: `--slot=`."""
    return word[: word.index("=") + 1] if word.startswith("-") and "=" in word else ""


def _for_bash(named: list[Candidate], word: str, environ: Mapping[str, str]) -> str:
    """A line each, from behind the last character that breaks words for bash; where the names are only shown,
    with what each is about.
    """
    breaks = environ.get("COMP_WORDBREAKS", "")
    cut = max((word.rfind(one) for one in ":=" if one in breaks), default=-1) + 1
    values = [one.value[cut:] for one in named]
    if environ.get("COMP_TYPE") not in LISTS or len(named) < 2:
        return "".join(f"{value}\n" for value in values)
    width = max(map(len, values))
    pairs = zip(values, named, strict=True)
    return "".join(f"{v:<{width}}  ({one.about})\n" if one.about else f"{v}\n" for v, one in pairs)


def _as_before(shell: str, found: Place | list[Candidate]) -> str:
    """What the scripts of earlier versions take, which evaluate it: names alone."""
    names = [] if isinstance(found, Place) else [one.value for one in found]
    if shell != "complete_zsh":
        return "".join(f"{name}\n" for name in names)
    plain = " ".join(name for name in names if ":" not in name)
    return f"_arguments '*: :(({plain}))'\n" if plain else "_files\n"
