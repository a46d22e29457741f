"""The man pages: one for each verb and file, complete, and well-formed to the programs that read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from mayfly.cli import roff
from mayfly.cli.key_text import table_texts
from mayfly.cli.man_pages import OF_FILES, man_pages
from mayfly.cli.verb_text import verb_texts
from mayfly.cli.verbs import app
from mayfly.providers.configuration import schema
from tests import copies
from tests.cli.conftest import Mayfly
from tests.terminal import environment

PAGES = man_pages(typer.main.get_command(app))
TEXTS = list(verb_texts(typer.main.get_command(app)))
groff = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed here")


def shown(text: str) -> str:
    """What a reader sees, on one line."""
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return " ".join(done.stdout.replace("\u2010\n", "").split())


def test_each_verb_has_a_page_with_every_option_and_example() -> None:
    for verb in TEXTS:
        page = PAGES[f"mayfly-{verb.name.split()[0]}.1"]
        for option in verb.options:
            assert all(roff.bold(name) in page for name in option.names)
            assert roff.prose(option.does) in page
        for example in verb.examples:
            assert f"\n{roff.line(roff.plain(example.typed))}\n" in page


def test_no_page_is_of_a_verb_that_is_gone() -> None:
    named = {f"mayfly-{verb.name.split()[0]}.1" for verb in TEXTS}
    assert PAGES.keys() == {"mayfly.1", *named, *(page for page, _ in OF_FILES.values())}


def test_every_key_of_the_configuration_is_in_its_page_under_its_table() -> None:
    tables = {one.heading: one for one in table_texts(schema())}
    assert {"[host]", "[[pool]]", "[pool.limits]", "[[host.notify]]", "[[pool.caches]]"} <= {
        *tables
    }
    page = PAGES["mayfly-config.5"]
    keys = {key for table in schema()["$defs"].values() for key in table["properties"]}
    headings = {part for one in tables for part in re.findall(r"\w+", one)}
    told = {key.name for one in tables.values() for key in one.keys}
    assert keys <= told | headings, keys - told - headings
    for one in tables.values():
        assert roff.subheading(one.heading) in page
        assert all(roff.bold(key.name) in page for key in one.keys)


@groff
def test_groff_reads_all_pages_and_says_nothing(tmp_path: Path) -> None:
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    command = ["groff", "-man", "-ww", "-Tutf8", "-z", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed here")
def test_mandoc_finds_nothing_but_that_no_page_has_a_date(tmp_path: Path) -> None:
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    command = ["mandoc", "-T", "lint", "-W", "warning", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


@groff
@pytest.mark.parametrize(
    "text",
    [
        ".TH is no macro here",
        "'so is this none",
        "back\\slash \\fB \\n(.x",
        "--long-option, a-b",
        "say … and é",
        "~/x ^y `z`",
        "a \"b\" 'c'",
    ],
)
def test_a_text_is_shown_as_it_is(text: str) -> None:
    page = [roff.title("x", 1, "s", "m"), roff.heading("name"), "x \\- y", roff.heading("text")]
    said = shown("\n".join([*page, *roff.typed([text])]) + "\n")
    assert f" {text} " in f"{said.partition('TEXT')[2]} "


@groff
def test_the_page_of_a_verb_reads_as_it_should() -> None:
    said = shown(told("help", "--man", "submit"))
    assert "mayfly submit [OPTIONS] CMD... " in said
    assert "--retry-lost N Run it again where it was lost, at most so often." in said
    assert "mayfly submit -- sh -c 'ls | wc -l'" in said
    assert "EXIT STATUS" in said
    assert told("help", "--man", "config.toml") == PAGES["mayfly-config.5"]
    assert told("help", "--man", ".mayfly.toml") == PAGES["mayfly.toml.5"]
    assert told("help", "--man") == PAGES["mayfly.1"]
    assert told("help", "--man", "images", "build") == PAGES["mayfly-images.1"]


def test_there_is_no_page_of_what_is_no_verb(mayfly: Mayfly) -> None:
    ran = mayfly("help", "--man", "drian")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean drain?" in ran.err


def told(*words: str) -> str:
    """What the bare command prints."""
    ran = copies.command(*words, environment=environment())
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
