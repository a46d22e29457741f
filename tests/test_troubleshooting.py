"""The page on what may be wrong: for each code what is printed, how bad it is, and what to type."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mayfly.cli.troubleshooting import TYPED, codes_of, lines_of, sections
from tests.command_lines import bare, parsed, simple
from tests.fix_lines import GAP, Made, made
from tests.pages import ROOT, rows
from tests.severities import severities

PAGE = ROOT / "docs/how-to/troubleshooting.md"
MADE = made()
CODES = sorted({one.code for one in MADE})
SEVERITIES = severities()
OF_CODES = {code: said for code, said in sections().items() if "." in code}
# Who is asked of a cluster, which the page leaves out of each line and says once.
CLUSTER = re.compile(
    rf"(sudo )?kubectl(?: --kubeconfig {GAP})?(?: --context {GAP})?(?: --namespace {GAP})?(?= [a-z])"
)


def expression(template: str) -> re.Pattern[str]:
    """What the page may show for it: anything where it is known only when it is said."""
    parts = CLUSTER.sub("kubectl", template).split(GAP)
    return re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)


def says_something(template: str) -> bool:
    """Whether enough of it stands in the sources."""
    return len(re.sub(r"[\W_]", "", template.replace(GAP, ""))) >= 6


def of(code: str) -> list[Made]:
    return [one for one in MADE if one.code == code]


def test_every_code_has_a_section_and_every_section_a_code() -> None:
    assert sorted(OF_CODES) == CODES
    assert len(CODES) > 120


@pytest.mark.parametrize("code", CODES)
def test_a_section_shows_what_is_printed_and_what_to_type(code: str) -> None:
    said = OF_CODES[code]
    assert list(said) == ["You see", "Severity", "Why", TYPED, "Next"]
    assert said["Severity"] == SEVERITIES[code]
    # A line that is not of this code's own may be in what comes next: another engine's, say.
    lines = [" ".join(one.split()) for name in (TYPED, "Next") for one in codes_of(said[name])]
    for fix in dict.fromkeys(one.fix for one in of(code)):
        if says_something(fix):
            wanted = expression(" ".join(fix.split()))
            assert any(wanted.fullmatch(line) for line in lines), (fix.replace(GAP, "…"), lines)
    texts = [one.text for one in of(code) if says_something(one.text)]
    if texts:
        shown = codes_of(said["You see"])
        assert any(expression(text).fullmatch(one) for text in texts for one in shown), (
            [text.replace(GAP, "…") for text in texts],
            shown,
        )


def typed() -> Iterator[tuple[str, str]]:
    """What the page has one type, with where it stands."""
    for code, said in sections().items():
        yield from ((code, line) for name in (TYPED, "Next") for line in codes_of(said[name]))
    for cells in rows("how-to/troubleshooting.md", "what you see"):
        yield from ((cells[0], line) for line in codes_of(cells[2]) if len(cells) == 4)


def test_what_the_page_types_at_mayfly_is_understood() -> None:
    import typer

    from mayfly.cli.verbs import app

    group = typer.main.get_command(app)
    tried = 0
    for where, line in typed():
        if line.startswith("#"):
            continue
        for words in map(bare, simple(line.partition("   #")[0])):
            if words[:1] == ["mayfly"] and len(words) > 1:
                tried += 1
                try:
                    parsed(group, words[1:])
                except Exception as error:
                    raise AssertionError(f"{where}: {line}: {error}") from error
    assert tried > 120


def test_links_within_the_page_lead_to_sections_and_symptoms_to_each_that_has_no_code() -> None:
    text = PAGE.read_text()
    linked = set(re.findall(r"\]\(#([\w.-]+)\)", text))
    assert linked <= {*sections()}
    assert {code for code in sections() if "." not in code} <= linked


@pytest.mark.parametrize("code", ["slot.held", "gpu.gone", "engine.answers", "not-running"])
def test_a_section_is_text_for_a_terminal(code: str) -> None:
    lines = lines_of(code)
    assert not any("glossary" in line for line in lines), "a word is a word in a terminal"
    assert lines[0] == code
    assert "](" not in "\n".join(lines)
    typed = lines.index(f"{TYPED}:")
    for at, line in enumerate(lines):
        assert len(line) <= 78 or typed < at, line
    for line in codes_of(sections()[code][TYPED]):
        assert f"    {line}" in lines
