"""Headers and bodies of any words: what is read from them is bounded, or nothing, and never an exception."""

from __future__ import annotations

import base64
import json
import math
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mayfly.core.quantities import LATEST, rfc3339, spoken_age
from mayfly.edge import addresses
from mayfly.edge.faults import WAIT_MOST, Passing
from mayfly.edge.header_values import date_of, number_of, remaining, retry_after, until_reset
from mayfly.edge.jwt import end_of
from mayfly.edge.service_json import Garbage, parsed

NUMBERS = st.floats().map(str) | st.integers(-(10**400), 10**400).map(str)
YEARS = st.integers(-(10**20), 10**20) | st.integers(0, 10_000)
DATES = st.builds(
    "Mon, {} {} {} {}:{}:{} {}".format,
    st.integers(-1, 40),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo"]),
    YEARS,
    *[st.integers(-1, 70)] * 3,
    st.sampled_from(["GMT", "-0000", "+2359", "-9999", "+99999999999", ""]),
)
WORDS = st.text(max_size=40) | NUMBERS | DATES


@given(WORDS, st.floats(0, LATEST))
@example("Mon, 20 Jan 99999999999999999999 00:00:00 GMT", 0.0)
@example("Mon, 01 Jan 0001 00:00:00 +2359", 0.0)
def test_a_header_of_any_words_is_bounded_or_nothing(words: str, now: float) -> None:
    headers = dict.fromkeys(
        ("Date", "Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset"), words
    )
    told = (
        *(date_of(words), number_of(words), remaining(headers)),
        *(until_reset(headers, now), retry_after(headers, now)),
    )
    for value in told:
        assert value is None or math.isfinite(value)
        if value is not None:
            assert rfc3339(value)
            assert len(spoken_age(value)) <= 5
    date = date_of(words)
    assert date is None or 0 <= date <= LATEST


@given(st.floats() | st.none() | st.integers(-(10**400), 10**400))
@example(31536000000.0)
@example(math.inf)
def test_nobody_outside_has_us_wait_for_longer_than_a_limit_lasts(wish: float | None) -> None:
    wait = Passing("busy", wish).retry_after
    assert (wait is None) is (wish is None or wish != wish)  # noqa: PLR0124  not a number
    assert wait is None or 0 <= wait <= WAIT_MOST


@given(
    st.text(max_size=40) | st.from_regex(r"https?://\[?[^/]{0,9}\]?(:[0-9]{0,7})?/", fullmatch=True)
)
@example("https://[x/")
@example("https://a:99999/")
@example("https://a\u2100b/")
def test_an_address_of_any_words_is_one_or_passes(words: str) -> None:
    for read in (addresses.split, lambda one: addresses.joined("https://example.com/a", one)):
        with suppress(Passing):
            assert read(words) is not None


def test_an_address_that_is_none_is_told_on_one_line_without_backquotes() -> None:
    with pytest.raises(Passing) as caught:
        addresses.split("https://[`rm`\n/")
    told = str(caught.value)
    assert r"an address that is none: 'https://['rm'\n/'" in told


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1e308", "NaN", "Infinity", "-Infinity", "9" * 400, "9" * 5000]
)
def test_a_body_with_a_number_without_bounds_is_unreadable(number: str) -> None:
    assert isinstance(parsed(f'{{"queued_duration": {number}}}'.encode()), Garbage)


def test_the_largest_numbers_that_services_have_are_read() -> None:
    assert parsed(b'{"id": 18446744073709551615, "took": 1.5e9}') == {
        "id": 2**64 - 1,
        "took": 1.5e9,
    }


@given(st.text(max_size=60) | NUMBERS.map(lambda n: f"e30.{n}") | st.binary().map(repr))
def test_the_end_in_any_token_is_a_time_or_nothing(token: str) -> None:
    end = end_of(token)
    assert end is None or 0 <= end <= LATEST


@pytest.mark.parametrize("claim", ["9" * 401, "1e400", "NaN", '"x"', "[" * 5000, "253402300800"])
def test_an_end_of_a_token_that_no_calendar_has_is_none(claim: str) -> None:
    body = base64.urlsafe_b64encode(f'{{"exp": {claim}}}'.encode()).decode()
    assert end_of(f"e30.{body}.x") is None
    good = base64.urlsafe_b64encode(json.dumps({"exp": 1893456000}).encode()).decode()
    assert end_of(f"e30.{good}.x") == 1893456000
