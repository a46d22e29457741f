"""The page of what was seen with what says what the marks on the tests say, of parts that it knows."""

from __future__ import annotations

from tests.seen import PARTS, WITH, marks, table


def test_every_mark_is_of_a_part_and_a_way_that_the_page_has() -> None:
    found = list(marks())
    assert found
    unknown = {
        (path.name, service, part, how)
        for service, part, how, path in found
        if part not in PARTS.get(service, ()) or how not in WITH
    }
    assert unknown == set()


def test_a_part_that_no_test_marks_is_told_as_seen_with_nothing() -> None:
    marked = {(service, part) for service, part, _, _ in marks()}
    for line in list(table())[2:]:
        service, part, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        assert (cells[-1] == "yes") == ((service, part) not in marked)
        assert ("yes" in cells[:-1]) == ((service, part) in marked)
