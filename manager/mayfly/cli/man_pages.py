"""Man pages, from what verbs and files say of themselves: mayfly(1), one for each verb, two for files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from mayfly import __version__
from mayfly.cli import roff
from mayfly.cli.examples import Example
from mayfly.cli.help_topics import TOPICS, Topic
from mayfly.cli.key_text import TableText, table_texts
from mayfly.cli.verb_text import OptionText, VerbText, options_of, verb_texts

SOURCE = f"Mayfly {__version__}"
COMMANDS, FILES = "Mayfly's commands", "Mayfly's files"
MAIN = "mayfly.1"
# By what people call the file: the page, and what it is about.
OF_FILES = {
    "config.toml": ("mayfly-config.5", "the configuration of Mayfly"),
    ".mayfly.toml": ("mayfly.toml.5", "the jobs of a repository"),
}


def man_pages(group: Any) -> dict[str, str]:
    """Every page by its name, such as ``mayfly-drain.1``."""
    texts = list(verb_texts(group))
    pages = {MAIN: _main(group, texts)}
    for name, several in groupby(texts, lambda one: one.name.split()[0]):
        pages[f"mayfly-{name}.1"] = _of_verb(name, list(several))
    for file, (page, about) in OF_FILES.items():
        pages[page] = _of_file(file, page, about)
    return pages


def page_of(words: list[str]) -> str:
    """The name of the page that is about a verb or a file; of nothing, the one about all."""
    if not words:
        return MAIN
    return OF_FILES[words[0]][0] if words[0] in OF_FILES else f"mayfly-{words[0]}.1"


def _text(lines: Iterator[str]) -> str:
    found: list[str] = []
    for line in lines:
        if line != ".PP" or not found[-1].startswith(
            (".SH", ".SS")
        ):  # these begin a paragraph themselves
            found.append(line)
    return "\n".join(found) + "\n"


def _main(group: Any, texts: list[VerbText]) -> str:
    return _text(_main_lines(group, texts))


def _main_lines(group: Any, texts: list[VerbText]) -> Iterator[str]:
    yield roff.title("mayfly", 1, SOURCE, COMMANDS)
    yield from _name("mayfly", "keeps named slots on a GPU host filled with single-job CI agents")
    yield roff.heading("synopsis")
    words = (f"[{roff.italic('OPTIONS')}]", roff.italic("VERB"), "[...]")
    yield " ".join((roff.bold("mayfly"), *words))
    yield roff.heading("description")
    yield from roff.paragraph(
        "Each verb has a page of its own, `mayfly-VERB`(1); `mayfly help VERB` shows the same in short. The "
        "configuration is described in `mayfly-config`(5), the jobs of a repository in `mayfly.toml`(5)."
    )
    yield roff.heading("options")
    yield from roff.paragraph(
        "These stand before the verb; all but --context and --version behind it too."
    )
    yield from roff.terms(map(_option, options_of(group)))
    yield roff.heading("verbs")
    yield from roff.terms((roff.bold(one.name), one.does) for one in texts)
    for topic in TOPICS.values():
        yield from _topic(topic)


def _of_verb(name: str, texts: list[VerbText]) -> str:
    return _text(_verb_lines(name, texts))


def _verb_lines(name: str, texts: list[VerbText]) -> Iterator[str]:
    yield roff.title(f"mayfly-{name}", 1, SOURCE, COMMANDS)
    about = texts[0].does if len(texts) == 1 else f"verbs: {', '.join(one.name for one in texts)}"
    yield from _name(f"mayfly-{name}", about.split("\n\n")[0])
    yield roff.heading("synopsis")
    for number, one in enumerate(texts):
        if number:
            yield ".br"
        yield _called(one)
    yield roff.heading("description")
    for one in texts:
        if len(texts) > 1:
            yield roff.subheading(f"mayfly {one.name}")
        for part in one.does.split("\n\n"):
            yield from roff.paragraph(part)
        yield from roff.terms(map(_option, one.options))
    yield roff.heading("examples")
    for one in texts:
        yield from _examples(one.examples)
    yield from _topic(TOPICS["exit-codes"])
    yield roff.heading("see also")
    yield f"{roff.bold('mayfly')}(1), {roff.bold('mayfly-config')}(5)"


def _called(verb: VerbText) -> str:
    words = [roff.bold(f"mayfly {verb.name}")]
    words += [f"[{roff.italic('OPTIONS')}]"] if verb.options else []
    return " ".join([*words, *map(roff.italic, verb.arguments)])


def _examples(examples: tuple[Example, ...]) -> Iterator[str]:
    for example in examples:
        yield from roff.paragraph(f"{example.does}:")
        yield from roff.typed([example.typed])


def _option(option: OptionText) -> tuple[str, str]:
    names = ", ".join(map(roff.bold, option.names))
    return f"{names} {roff.italic(option.value)}" if option.value else names, option.does


def _name(name: str, about: str) -> Iterator[str]:
    yield roff.heading("name")
    yield f"{roff.plain(name)} \\- {roff.prose(about.removesuffix('.'))}"


def _topic(topic: Topic) -> Iterator[str]:
    yield roff.heading(topic.heading)
    yield from roff.paragraph(topic.about)
    yield from roff.terms((roff.bold(term), means) for term, means in topic.terms)


def _of_file(file: str, page: str, about: str) -> str:
    return _text(_file_lines(file, page.rpartition(".")[0], about))


def _file_lines(file: str, name: str, about: str) -> Iterator[str]:
    yield roff.title(name, 5, SOURCE, FILES)
    yield from _name(name, about)
    yield roff.heading("synopsis")
    yield roff.italic("/etc/mayfly/config.toml" if file == "config.toml" else file)
    yield roff.heading("description")
    yield from roff.paragraph(
        "A file of TOML. Behind each key stands its default, where it has one."
    )
    for table in _tables(file):
        if table.heading:
            yield roff.subheading(table.heading)
        if table.does:
            yield from roff.paragraph(f"{table.does[0].upper()}{table.does[1:]}.")
        for key in table.keys:
            default = "must be there" if key.default is None else key.default
            behind = f" ({roff.plain(default)})" if default else ""
            yield from roff.terms([(roff.bold(key.name) + behind, key.does)])
    yield roff.heading("see also")
    yield f"{roff.bold('mayfly')}(1)"


def _tables(file: str) -> Iterator[TableText]:
    return table_texts(_schema(file))


def _schema(file: str) -> Mapping[str, Any]:
    if file == "config.toml":
        from mayfly.providers.configuration import schema  # noqa: PLC0415  pydantic is heavy

        return schema()
    from mayfly.edge.pipeline_file import FileTable  # noqa: PLC0415

    found: Mapping[str, Any] = FileTable.model_json_schema(by_alias=True)
    return found
