"""``help``: a verb's options and examples, or a topic, or the list of all verbs."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any

import typer

from mayfly.cli.help_topics import TOPICS, Topic
from mayfly.cli.trouble import Usage
from mayfly.core.plain_text import clean


def help(  # noqa: A001  the verb's name
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VERB|TOPIC]...", help=f"Topics are {', '.join(TOPICS)}.", show_default=False
        ),
    ] = None,
    *,
    man: Annotated[
        bool,
        typer.Option("--man", help="Print the man page: of a verb, config.toml or .mayfly.toml."),
    ] = False,
) -> None:
    """Show a verb's options and examples, or a topic; without one, every verb."""
    if man:
        _man(ctx.find_root(), words or [])
        return
    if words is not None and len(words) == 1 and words[0] in TOPICS:
        for line in topic_lines(TOPICS[words[0]]):
            print(line)
        return
    root: Any = ctx.find_root()
    print(_found(root, words or []).get_help())
    if not words:
        print(f"\nTopics, by `mayfly help TOPIC`: {', '.join(TOPICS)}.")


def _man(root: Any, words: list[str]) -> None:
    from mayfly.cli.man_pages import OF_FILES, man_pages, page_of  # noqa: PLC0415  brings every verb

    if not (words and words[0] in OF_FILES):
        _found(root, words)
    print(man_pages(root.command)[page_of(words)], end="")


def _found(context: Any, words: list[str]) -> Any:
    """The context of the verb, below the one that is given, whose help is wanted."""
    for at, word in enumerate(words):
        group = context.command
        names = group.list_commands(context) if hasattr(group, "list_commands") else []
        if word not in names:
            raise Usage(_unknown([*words[:at], word], names if at else [*names, *TOPICS]))
        context = typer.Context(group.get_command(context, word), parent=context, info_name=word)
    return context


def _unknown(words: list[str], names: list[str]) -> str:
    near = get_close_matches(words[-1], names, 1)
    there = f"did you mean {near[0]}?" if near else "`mayfly help` lists them"
    return f"help: there is no verb or topic {clean(' '.join(words))!r}: {there}"


def topic_lines(topic: Topic) -> list[str]:
    """A topic for a terminal of 80 columns."""
    import textwrap  # noqa: PLC0415

    width = max(len(term) for term, _ in topic.terms) + 2
    lines = [*textwrap.wrap(topic.about, 78), ""]
    for term, means in topic.terms:
        first, *more = textwrap.wrap(means, 76 - width)
        lines += [f"  {term:<{width}}{first}", *(f"  {'':<{width}}{line}" for line in more)]
    return lines
