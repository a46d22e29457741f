"""Who prints much is heard of, whoever prints little never is."""

from __future__ import annotations

from mayfly.core.model import Generation
from mayfly.core.throttle import LINE
from mayfly.edge.output_meter import EACH, OutputMeter

G = Generation("g1")


def test_all_that_was_printed_is_told_once_and_no_more_often_than_it_is_much() -> None:
    told: list[tuple[int, int]] = []
    meter = OutputMeter(G, lambda _, lines, size: told.append((lines, size)))
    for _ in range(1000):
        meter.add(10, 10_000)
    assert sum(lines for lines, _ in told) <= 10_000
    assert 0 < len(told) <= 1000 * (10_000 + 10 * LINE) / EACH
    assert all(size + LINE * lines >= EACH for lines, size in told)


def test_short_lines_are_much_before_their_bytes_are() -> None:
    told: list[int] = []
    meter = OutputMeter(G, lambda _, lines, __: told.append(lines))
    assert meter.add(EACH // LINE + 1, 0)
    assert told
