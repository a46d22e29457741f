"""Sizes, durations and times, as written and as shown."""

from __future__ import annotations

import re
from datetime import date, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mayfly
from mayfly.core.quantities import (
    LATEST,
    day_of,
    in_calendar,
    moment,
    parse_duration,
    parse_size,
    parse_time,
    rfc3339,
    spoken_age,
    spoken_size,
    whole_number,
    written_duration,
    written_size,
)

ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1b", 1),
        ("8GiB", 8 * 2**30),
        ("8g", 8 * 2**30),
        ("8G", 8 * 2**30),
        ("512 MiB", 512 * 2**20),
        ("10GB", 10**10),
        ("1.5KiB", 1536),
        ("2tib", 2 * 2**40),
    ],
)
def test_a_size_is_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "8 Gigs", "1e3", "8GiBi", "9" * 30, "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("2d", 172800),
        ("0.5", 0.5),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1", "1h foo", "soon", "1e9", "9999999999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_duration(text)


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_survives_its_text_to_the_millisecond(milliseconds: int) -> None:
    assert abs(parse_time(rfc3339(milliseconds / 1000)) - milliseconds / 1000) < 0.0011


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-02", 86400), ("1970-01-01T01:00:00Z", 3600), ("1970-01-01T01:00:00+01:00", 0)],
)
def test_a_time_is_utc_where_it_does_not_say(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


ENDS = ("0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00")
ANY = st.floats() | st.integers(-(10**400), 10**400)


@pytest.mark.parametrize("text", ["", "yesterday", "12:00", *ENDS])
def test_what_is_no_time_of_the_calendar_is_refused(text: str) -> None:
    assert moment(text) is None
    with pytest.raises(ValueError, match="is not a time of the years 1970 to 9999"):
        parse_time(text)


def test_the_calendar_has_its_last_second() -> None:
    assert rfc3339(parse_time("9999-12-31T23:59:59Z")) == "9999-12-31T23:59:59.000Z"


@given(st.text() | st.integers() | st.none() | st.datetimes(timezones=ZONES).map(str))
def test_a_time_from_outside_can_be_shown_or_is_none(value: object) -> None:
    at = moment(value)
    assert at is None or parse_time(rfc3339(at)) == pytest.approx(at, abs=0.0011)


@given(ANY)
def test_any_number_is_shown_as_a_time_and_as_an_age(seconds: float) -> None:
    assert 0 <= parse_time(rfc3339(seconds)) <= LATEST
    assert len(spoken_age(seconds)) <= 5
    assert in_calendar(seconds) in (seconds, None)


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h00"),
        (86399, "23h59"),
    ],
)
def test_an_age_is_short(seconds: float, spoken: str) -> None:
    assert spoken_age(seconds) == spoken


@given(st.floats(0, 3e8))
def test_an_age_has_at_most_five_characters(seconds: float) -> None:
    assert len(spoken_age(seconds)) <= 5


@pytest.mark.parametrize("text", ["0B", "512B", "8GiB", "512MiB", "2TiB"])
def test_a_round_size_reads_back(text: str) -> None:
    assert spoken_size(parse_size(text)) == text


@given(st.integers(0, 2**50))
def test_a_size_that_is_written_reads_back_exactly(size: int) -> None:
    assert parse_size(str(written_size(size))) == size


@given(st.integers(0, 10**9).map(float) | st.floats(0, 1e9))
def test_a_duration_that_is_written_reads_back_exactly(seconds: float) -> None:
    written = written_duration(seconds)
    assert (parse_duration(written) if isinstance(written, str) else written) == seconds


@pytest.mark.parametrize(
    ("seconds", "written"), [(21600.0, "6h"), (86400.0, "1d"), (5400.0, "1h30m"), (90.0, "1m30s")]
)
def test_a_duration_is_written_as_people_write_it(seconds: float, written: str) -> None:
    assert written_duration(seconds) == written


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)),
        # What str.isdigit or int takes.
        *((text, None) for text in ("", "²", "٣", "-1", "+1", "1_0", " 1", "1\n", "1.0", "9" * 19)),
        ("9" * 5000, None),
    ],
)
def test_a_whole_number_is_digits_and_not_many(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_a_time_without_a_zone_is_of_the_one_that_is_named_and_a_day_is_there_at_any_time() -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert moment("2025-11-03", zone) == moment("2025-11-02T23:00:00Z")
    assert moment("2025-11-03T00:00:00Z", zone) == moment("2025-11-03T00:00:00Z")
    assert day_of(parse_time("2025-11-02T23:30:00Z"), zone) == date(2025, 11, 3)
    for seconds in (-1e300, 0.0, LATEST, 1e300):
        for hours in (-14, 14):
            day_of(seconds, timezone(timedelta(hours=hours)))


def lines_with(pattern: str) -> list[str]:
    """The lines of the package that have it: file and line."""
    package = Path(mayfly.__file__).parent
    return [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(pattern, line)
    ]


def test_nobody_reads_digits_that_are_none() -> None:
    read_so = [
        line for line in lines_with(r"\.is(digit|decimal|numeric)\(") if "isascii()" not in line
    ]
    of_bytes = ("engines/docker/wire.py", "edge/checkout.py")  # which have ten digits
    assert [line for line in read_so if not line.startswith(of_bytes)] == []
    # Nor by a pattern: that of a text takes the digits of every script.
    by_pattern = [
        line for line in lines_with(r"\\d") if "re.ASCII" not in line and 'rb"' not in line
    ]
    assert by_pattern == []


# What raises at a time or an address that a stranger gave, and where alone it is read.
READERS = {
    r"\bdatetime\.fromisoformat\(": ("core/quantities.py", "edge/output_kept.py"),  # its own stamps
    r"\bdatetime\.fromtimestamp\(": ("core/quantities.py", "edge/output_kept.py"),
    r"\bparsedate_to_datetime\(": ("edge/header_values.py",),
    r"\bstrptime\(": ("providers/github/connection.py",),  # bounded by `epoch`
    r"\burljoin\(": ("edge/addresses.py",),
    r"\b3_?700\b": ("edge/faults.py",),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_comes_from_outside_is_read_in_one_place(reader: str) -> None:
    found = {line.partition(":")[0] for line in lines_with(reader)}
    assert found <= {*READERS[reader]}
