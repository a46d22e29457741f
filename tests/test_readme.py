"""README is read in five minutes: what it is, a picture, two commands, a first job, where to go on."""

from __future__ import annotations

import re

from tests.pages import ROOT, consoles

TEXT = (ROOT / "README.md").read_text()


def test_its_five_minutes_are_sixty_lines_and_all_of_it_a_hundred() -> None:
    assert len(TEXT.splitlines()) <= 100
    path = TEXT[TEXT.index("## Five minutes") : TEXT.index("## What was tried")]
    assert len(path.splitlines()) <= 60


def test_its_first_two_commands_are_the_demo_and_the_tests() -> None:
    typed = [one.typed[0][0] for one in consoles() if one.page == "README.md"]
    assert typed[:2] == ["make demo", "make test"]


def test_it_counts_nothing_that_changes_with_each_commit() -> None:
    assert not re.findall(r"\d[\d,]* tests|\d+ (?:seconds|minutes)", TEXT)


def test_each_of_its_links_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).is_file()] == []
