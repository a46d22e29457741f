"""What comes again of an Engine's log is told from what is new, by its times and its bytes."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from mayfly.edge.output_kept import ERR, OUT, PIECE
from mayfly.engines.docker.log_frames import Order

YEAR_2000 = 946_684_800


def frame(stream: int, at: float, text: bytes) -> bytes:
    """A line or a piece of one, as the Engine frames it."""
    whole = datetime.fromtimestamp(YEAR_2000 + at // 1, UTC)
    payload = f"{whole:%Y-%m-%dT%H:%M:%S}.{round(at % 1 * 1e9):09d}Z ".encode() + text
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def out(at: float, text: bytes = b"x\n") -> bytes:
    return frame(OUT, at, text)


def err(at: float, text: bytes = b"x\n") -> bytes:
    return frame(ERR, at, text)


ZEROS, LETTERS = bytes(PIECE), bytes(range(65, 91)) * (PIECE // 26 + 1)
ONE, TWO, THREE = (LETTERS[n : n + PIECE] for n in range(3))


@pytest.mark.parametrize(
    ("came", "comes", "new"),
    [
        pytest.param([out(1)], [out(1)], [], id="a file of one line"),
        pytest.param([out(1)], [out(1), out(2)], [out(2)], id="a file of one line that goes on"),
        pytest.param([out(1), out(2)], [out(1), out(2), out(3)], [out(3)], id="of two lines"),
        pytest.param([out(1), out(2)], [out(2), out(3)], [out(3)], id="one that begins in between"),
        pytest.param(
            [out(1), err(2)], [out(1), err(2), err(3)], [err(3)], id="each stream has its own time"
        ),
        pytest.param([out(2), err(1)], [err(1), out(3)], [out(3)], id="stamped before they queued"),
        pytest.param([out(1, b"a\n")], [out(1, b"b\n")], [out(1, b"b\n")], id="a coarse clock"),
        pytest.param(
            [out(1, ONE), out(1, TWO)],
            [out(1, ONE), out(1, TWO), out(1, THREE)],
            [out(1, THREE)],
            id="pieces of a line",
        ),
        pytest.param(
            [out(1, ONE), out(1, TWO)],
            [out(1, TWO), out(1, THREE)],
            [out(1, THREE)],
            id="a file that begins with a piece",
        ),
        pytest.param([out(1, ONE)], [out(1, ONE), out(1, TWO)], [out(1, TWO)], id="of one piece"),
        pytest.param(
            [out(1), out(2, ONE)],
            [out(1), out(2, ONE), out(2, TWO)],
            [out(2, TWO)],
            id="a line and a piece",
        ),
        pytest.param(
            [out(1, ZEROS)],
            [out(1, ZEROS), out(1, b"0")],
            [out(1, ZEROS), out(1, b"0")],
            id="the next piece is as the one before",
        ),
        pytest.param(
            [out(1), out(2, ZEROS), out(2, ZEROS)],
            [out(1), out(2, ZEROS), out(2, ZEROS), out(2, ZEROS)],
            [out(2, ZEROS)],
            id="and comes again behind a line",
        ),
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_what_comes_again_is_left_out_and_nothing_else(
    came: list[bytes], comes: list[bytes], new: list[bytes], *, at_once: bool
) -> None:
    order = Order()
    if at_once:
        assert order.take(b"".join(came + comes)).fresh == b"".join(came + new)
    else:
        fresh = [order.take(one).fresh for one in came + comes]
        assert b"".join(fresh) == b"".join(came + new)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "come",
    [
        pytest.param([out(1)] * 9, id="lines alike of a coarse clock"),
        pytest.param([out(1), out(2), out(1), out(2)], id="a clock that was set back"),
        pytest.param([out(1, ONE), out(1, TWO)] * 2, id="pieces alike of one line"),
    ],
)
def test_nothing_is_left_out_before_a_file_of_the_log_can_have_turned(
    come: list[bytes], *, at_once: bool
) -> None:
    order = Order(whole_log=8 * len(b"".join(come)))
    taken = [order.take(one) for one in ([b"".join(come)] if at_once else come)]
    assert b"".join(one.fresh for one in taken) == b"".join(come)
    assert order.take(come[-1]).fresh == b"", "from there on it may be what comes again"


def test_of_very_many_pieces_of_one_time_the_newest_are_told_apart() -> None:
    pieces = [out(1, b"%d" % at) for at in range(20_000)]
    order = Order()
    assert order.take(b"".join(pieces)).fresh == b"".join(pieces)
    assert order.take(b"".join(pieces[-4_000:]) + out(1, b"new")).fresh == out(1, b"new")


def test_what_was_kept_before_is_told_apart_by_who_resumed() -> None:
    order = Order({OUT: out(5)[8:38]})
    taken = order.take(out(4) + out(5) + err(3) + out(6))
    assert (taken.behind, taken.fresh) == (out(4), out(5) + err(3) + out(6))
    taken = order.take(out(4) + out(6) + out(7))
    assert (taken.behind, taken.fresh) == (b"", out(7))


def test_an_answer_that_does_not_go_on_shows_nothing_twice() -> None:
    taken = Order(follows=False).take(out(1, ONE) + out(1, ONE) + err(3) + err(2))
    assert (taken.behind, taken.fresh) == (err(2), out(1, ONE) * 2 + err(3))


def test_after_a_clock_was_set_back_nothing_is_taken_for_what_has_come() -> None:
    ahead = (datetime.now(UTC).timestamp() - YEAR_2000) + 3600
    order = Order()
    for at in (ahead, 1.0, 2.0, 3.0):
        assert order.take(out(at)).fresh == out(at)
    assert order.take(out(2.0) + out(3.0)).fresh == b""


def test_half_a_frame_waits_for_its_rest_and_nonsense_is_told() -> None:
    data = out(1) + out(2, b"no end")
    taken = Order().take(data[:-1])
    assert (taken.whole, taken.lines, taken.fresh) == (len(out(1)), 1, out(1))
    taken = Order().take(data)
    assert (taken.lines, taken.unfinished, taken.broken) == (2, True, False)
    taken = Order().take(out(1) + b"nonsense")
    assert (taken.fresh, taken.broken) == (out(1), True)
