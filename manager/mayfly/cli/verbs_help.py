"""``help``: a verb's options and examples, a topic, what a code or a word means, or the list of all verbs."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from mayfly.cli.help_topics import TOPICS, Topic
from mayfly.cli.talk import terminal_width
from mayfly.cli.trouble import Usage
from mayfly.core.plain_text import clean


def help(  # noqa: A001  the verb's name
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VERB|TOPIC|CODE]...",
            help=f"Topics are {', '.join(TOPICS)}; a code is as status and doctor print it. A word of the "
            "glossary is explained, too.",
            show_default=False,
        ),
    ] = None,
    *,
    man: Annotated[
        bool,
        typer.Option("--man", help="Print the man page: of a verb, config.toml or .mayfly.toml."),
    ] = False,
) -> None:
    """Show a verb's options and examples, a topic, or what a code means; without one, every verb."""
    if man:
        _man(ctx.find_root(), words or [])
        return
    if words is not None and len(words) == 1 and words[0] in TOPICS:
        for line in topic_lines(TOPICS[words[0]]):
            print(line)
        return
    if words is not None and len(words) == 1 and words[0] in _sections():
        from mayfly.cli.troubleshooting import lines_of  # noqa: PLC0415

        for line in lines_of(words[0], min(terminal_width() or 78, 100)):
            print(line)
        return
    root: Any = ctx.find_root()
    word = " ".join(words or ()).lower()
    if word in _meanings() and word not in root.command.list_commands(root):
        from mayfly.cli.glossary import lines_of as meaning_of  # noqa: PLC0415

        for line in meaning_of(word, min(terminal_width() or 78, 100)):
            print(line)
        return
    print(_found(root, words or []).get_help())
    if not words:
        print(f"\nTopics, by `mayfly help TOPIC`: {', '.join(TOPICS)}.")
        print("What a code such as slot.held means: `mayfly help CODE`.")
        print("What a word such as standby means: `mayfly help WORD`.")


def _sections() -> Collection[str]:
    from mayfly.cli.troubleshooting import sections  # noqa: PLC0415  reads the page

    return sections()


def _meanings() -> Collection[str]:
    from mayfly.cli.glossary import meanings  # noqa: PLC0415  reads the page

    return meanings()


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
            if not at and (word in TOPICS or word in _sections()):
                raise Usage(f"help: one at a time: mayfly help {word}")
            known = names if at else [*names, *TOPICS, *_sections(), *_meanings()]
            raise Usage(_unknown([*words[:at], word], known))
        context = typer.Context(group.get_command(context, word), parent=context, info_name=word)
    return context


def _unknown(words: list[str], names: list[str]) -> str:
    near = get_close_matches(words[-1].lower(), names, 1)
    there = f"did you mean {near[0]}?" if near else "`mayfly help` lists them"
    return f"help: there is no verb, topic or code {clean(' '.join(words))!r}: {there}"


def topic_lines(topic: Topic) -> list[str]:
    """A topic for a terminal of 80 columns."""
    import textwrap  # noqa: PLC0415

    width = max(len(term) for term, _ in topic.terms) + 2
    lines = [*textwrap.wrap(topic.about, 78), ""]
    for term, means in topic.terms:
        first, *more = textwrap.wrap(means, 76 - width)
        lines += [f"  {term:<{width}}{first}", *(f"  {'':<{width}}{line}" for line in more)]
    return lines
