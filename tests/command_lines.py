"""Lines for a shell, as pages and examples have them: their commands, and Mayfly's reading of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any


def simple(command: str) -> Iterator[list[str]]:
    """The words of each simple command of a line."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("<>"):
            next(lexer)  # a file
        elif set(word) <= set("();<>|&"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def bare(words: list[str]) -> list[str]:
    """Without sudo, env, the variables and a loop's words before a command."""
    before = ("sudo", "env", "until", "do", "done")
    while words and (words[0] in before or re.fullmatch(r"\w+=.*", words[0])):
        words = words[1:]
    return words


def parsed(group: Any, words: list[str]) -> None:
    """Click's own reading of a command line, all but the doing."""
    context = group.make_context("mayfly", list(words))
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = group.make_context(name, rest, parent=context)
