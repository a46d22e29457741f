"""The questions: each answer is short, leads to the page that has the rest, and types what is understood."""

from __future__ import annotations

import re

import pytest
import typer

from mayfly.cli.troubleshooting import codes_of
from mayfly.cli.verbs import app
from tests.command_lines import bare, parsed, simple
from tests.pages import ROOT

ANSWERS = re.findall(
    r"^### (.+?)\n(.*?)(?=^##|\Z)", (ROOT / "docs/faq.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_there_are_twenty_and_more() -> None:
    assert len(ANSWERS) >= 20


@pytest.mark.parametrize(("question", "answer"), ANSWERS, ids=[one for one, _ in ANSWERS])
def test_an_answer_is_short_and_leads_on(question: str, answer: str) -> None:
    assert question.endswith("?")
    assert re.search(r"\]\([\w./#-]+\)", answer)
    assert len(answer.split()) <= 90
    group = typer.main.get_command(app)
    for line in codes_of(answer):
        for words in map(bare, simple(line)):
            if words[:1] == ["mayfly"]:
                parsed(group, words[1:])
