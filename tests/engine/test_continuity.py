"""Which frame of an agent's log proves that nothing was passed over, and when none is needed."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from mayfly.engines.docker.continuity import Continuity

FILE = 1_000_000
SIZE = 1000 + 8 + 31  # of a frame


def time(seconds: float) -> bytes:
    """As the Engine has it."""
    whole = datetime.fromtimestamp(1_800_000_000 + seconds // 1, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{round(seconds % 1 * 1e9):09d}Z".encode()


def frames(count: int, at: float, step: float) -> bytes:
    """So many, one after the other."""
    out = bytearray()
    for number in range(count):
        payload = time(at + number * step) + b" " + bytes(1000)
        out += struct.pack(">BxxxL", 1, len(payload)) + payload
    return bytes(out)


def test_what_fits_into_the_first_file_wants_no_proof() -> None:
    log = Continuity(FILE)
    for second in range(7):
        assert log.take(frames(100, second, 0.01)) is None
    assert log.ask() is None


def test_a_burst_leaves_no_time_in_which_a_file_could_have_been_filled() -> None:
    log = Continuity(FILE)
    for number in range(100):
        assert log.take(frames(100, number * 0.01, 0.0001)) is None
    assert log.ask() is None


def test_after_a_pause_the_frame_before_the_stretch_is_asked_for_once() -> None:
    log = Continuity(FILE)
    for second in range(8):
        assert log.take(frames(100, second, 0.0001)) is None
    wanted = [log.take(frames(100, 8 + second, 0.0001)) for second in range(10)]
    asked = [at for at in wanted if at is not None]
    assert len(asked) == 1  # the Engine has not said yet
    assert time(6.0) <= asked[0] <= time(8.0)
    log.answered()
    assert log.ask() is not None  # what came since wants one, too
    log.answered()
    assert log.ask() is None


def test_of_a_small_log_that_comes_in_large_bits_the_first_frame_is_asked_for() -> None:
    log = Continuity(FILE // 10)
    assert log.take(frames(1, 0.0, 0.0)) is None
    assert log.take(frames(100, 1.0, 0.0001)) == time(0.0)


def test_what_is_known_to_be_lost_is_not_asked_for_and_what_follows_is() -> None:
    log = Continuity(FILE)
    log.resumed(time(5.0))
    log.lost()
    assert log.take(frames(10, 9.0, 0.0001)) is None
    assert log.ask() is None
    assert log.take(frames(10, 10.0, 0.0001)) is None
    assert log.ask() == time(9.0)


def test_what_is_taken_up_again_is_proved_from_what_was_kept() -> None:
    log = Continuity(FILE)
    log.resumed(time(5.0))
    assert log.take(frames(10, 9.0, 0.0001)) is None
    assert log.ask() == time(5.0)
