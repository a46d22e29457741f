"""`mayfly help`, and the examples of each verb: there, short, and read by the command line as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from mayfly.cli.examples import EXAMPLES, Example
from mayfly.cli.glossary import meanings
from mayfly.cli.help_topics import TOPICS
from mayfly.cli.verbs import app
from tests import copies
from tests.cli.conftest import Mayfly
from tests.command_lines import bare, parsed, simple
from tests.pages import ROOT
from tests.terminal import environment

WIDTH = 110  # characters of a line that people still read
OTHERS = {"echo", "jq", "man", "source", "ssh"}  # what an example may call beside mayfly
ALL = [(verb, example) for verb, examples in EXAMPLES.items() for example in examples]


def verbs(group: Any, before: str = "") -> Iterator[str]:
    """Every verb, those of a group by both words."""
    for name in group.list_commands(None):
        verb = group.get_command(None, name)
        if hasattr(verb, "list_commands"):
            yield from verbs(verb, f"{name} ")
        else:
            yield f"{before}{name}"


def test_every_verb_has_an_example_and_no_example_is_of_a_verb_that_is_gone() -> None:
    assert set(verbs(typer.main.get_command(app))) == EXAMPLES.keys()
    assert all(EXAMPLES.values())


@pytest.mark.parametrize(("verb", "example"), ALL, ids=[example.typed for _, example in ALL])
def test_an_example_can_be_typed_and_is_of_its_verb(verb: str, example: Example) -> None:
    of_verb = 0
    for words in map(bare, simple(example.typed)):
        if words[:1] != ["mayfly"]:
            assert not words or words[0] in OTHERS
        if "mayfly" in words:
            parsed(typer.main.get_command(app), words[words.index("mayfly") + 1 :])
            of_verb += f" {verb} " in f" {' '.join(words)} "
    assert of_verb == 1
    assert len(example.typed) <= WIDTH
    assert example.does[0].isupper()
    assert not example.does.endswith((".", ":"))


def test_examples_stand_in_the_help_and_are_not_wrapped() -> None:
    for words in (("drain",), ("images", "build"), ("submit",)):
        said = [told("help", *words), told(*words, "--help")]
        assert said[0] == said[1]
        for example in EXAMPLES[" ".join(words)]:
            assert f"  {example.does}:\n    {example.typed}\n" in said[0]


def test_help_alone_lists_verbs_and_topics() -> None:
    said = told("help")
    assert said.startswith(told("--help"))
    assert all(topic in said for topic in TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_told_in_80_columns(topic: str) -> None:
    lines = told("help", topic).splitlines()
    assert max(map(len, lines)) <= 80
    for term, _ in TOPICS[topic].terms:
        assert any(line.startswith(f"  {term} ") for line in lines)


def test_a_code_is_told_with_what_to_type_on_lines_of_its_own() -> None:
    lines = told("help", "gpu.injection").splitlines()
    assert lines[0] == "gpu.injection"
    assert "    sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" in lines
    assert "mayfly help CODE" in told("help")


@pytest.mark.parametrize("word", ["standby", "cordoned", "health gate", "held"])
def test_a_word_of_the_glossary_is_told_in_80_columns(word: str) -> None:
    lines = told("help", *word.split()).splitlines()
    assert lines[0] == word
    assert len(lines) > 2
    assert max(map(len, lines)) <= 80
    assert "](" not in "\n".join(lines)


def test_each_word_that_one_meets_is_told_and_a_verb_goes_before() -> None:
    page = (ROOT / "docs/glossary.md").read_text().partition("## Words of the code")[0]
    assert len(meanings()) >= len(re.findall(r"^\| <a id", page, re.MULTILINE)) > 30
    assert told("help", "share").startswith("share\n")
    assert told("help", "run") == told("run", "--help")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("slot.held", "slot.cooling"), "help: one at a time: mayfly help slot.held"),
        (("SLOT.HELD",), "no verb, topic or code 'SLOT.HELD': did you mean slot.held?"),
        (("drian",), "no verb, topic or code 'drian': did you mean drain?"),
        (("images", "biuld"), "no verb, topic or code 'images biuld': did you mean build?"),
        (("status", "more"), "no verb, topic or code 'status more': `mayfly help` lists them"),
        (("slot.hold",), "did you mean slot.held?"),
        (("exit-code",), "did you mean exit-codes?"),
        (("\x1b[2Jq",), "`mayfly help` lists them"),
    ],
)
def test_what_there_is_no_help_for_is_refused(
    mayfly: Mayfly, words: tuple[str, ...], says: str
) -> None:
    ran = mayfly("help", *words)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "\x1b" not in ran.err


def told(*words: str) -> str:
    """What the bare command prints."""
    ran = copies.command(*words, environment=environment())
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_slots_and_jobs_of_examples_have_one_name() -> None:
    for _, example in ALL:
        for word in shlex.split(example.typed):
            assert not word.startswith(("local-", "azure-")), example.typed
