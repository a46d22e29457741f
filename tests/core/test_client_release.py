"""Versions of clients: what is newer, how many days an old one has, and a checksum that is held to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.client_release import (
    DAY,
    MOST_OFFERED,
    ClientRecords,
    ClientRelease,
    is_older,
    is_url,
    is_version,
    lag,
    newest,
)
from mayfly.core.desire import ImageSeen, Survey
from mayfly.core.image_build import ImageBuild, build_of
from mayfly.core.image_conditions import image_conditions
from mayfly.core.model import (
    GATE_PROTOCOL,
    LABEL_CLIENT,
    LABEL_GATE,
    ImageClient,
    PoolName,
    PoolSpec,
    Severity,
    SlotSpec,
    Traits,
)
from mayfly.core.naming import slot

NOW = 1_000_000_000.0
IMAGE = "mayfly/github:cpu"
RUNNER = ImageClient("GitHub's runner", "RUNNER", "https://example.org", 30.0)


def seen(*looks: tuple[float, str]) -> ClientRecords:
    """What was handed out at looks so many days ago."""
    records = ClientRecords()
    for days, version in looks:
        records = records.noted("p", version, NOW - days * DAY)
    return records


@pytest.mark.parametrize(
    ("one", "two", "older"),
    [
        ("2.9.0", "2.10.0", True),
        ("2.10.0", "2.9.0", False),
        ("v1.0", "1.0.1", True),
        ("2.336.0", "2.336.0", False),
        ("main", "2.336.0", False),
        ("2.336.0", "", False),
    ],
)
def test_versions_are_compared_by_their_numbers(one: str, two: str, older: bool) -> None:
    assert is_older(one, two) is older


def test_the_newest_of_several_is_found() -> None:
    assert newest(["2.9.0", "latest", "2.10.1"]) == "2.10.1"
    assert newest(["latest"]) is None


@pytest.mark.parametrize(
    "word", ["-x", "2", "2.336.0 ", "2.3;id", "$(id)", "2.336.0-rc1", "٢.٣٣٦", ""]
)
def test_what_is_no_version_is_not_built_in(word: str) -> None:
    assert not is_version(word)


@pytest.mark.parametrize(
    "word", ["--proxy", "file:///x", "https://x/y z", "https://x/'", "https://"]
)
def test_what_is_no_address_is_not_fetched(word: str) -> None:
    assert not is_url(word)


@pytest.mark.parametrize(
    ("looks", "left"),
    [
        ([(40, "2.0.0")], None),  # it is the newest
        ([(20, "2.0.0"), (19, "2.1.0")], 10),  # since it was last the newest
        ([(20, "2.0.0"), (12, "2.0.0"), (1, "2.1.0")], 18),
        ([(9, "2.1.0"), (1, "2.2.0")], 21),  # never seen: since the first newer one was
        ([(50, "2.0.0"), (2, "2.1.0")], -20),  # nobody looked in between
        ([(5, "1.9.0")], None),  # it is newer than what is handed out
        ([], None),
    ],
)
def test_the_days_count_from_when_it_was_last_the_newest(
    looks: list[tuple[float, str]], left: float | None
) -> None:
    found = lag(seen(*looks), ["p"], "2.0.0", 30.0)
    if left is None:
        assert found is None
    else:
        assert found is not None
        assert found.refused == pytest.approx(NOW + left * DAY)


def test_of_two_services_the_one_that_refuses_first_counts() -> None:
    records = seen((20, "2.0.0"), (19, "2.1.0")).noted("q", "2.0.0", NOW - 2 * DAY)
    found = lag(records.noted("q", "2.2.0", NOW), ["q", "p"], "2.0.0", 30.0)
    assert found is not None
    assert found.newest == "2.1.0"


def test_what_a_service_says_of_the_end_goes_before_what_is_reckoned() -> None:
    records = seen((20, "2.0.0"), (19, "2.1.0")).refused("p", "2.0.0", NOW + 3 * DAY)
    found = lag(records, ["p"], "2.0.0", 30.0)
    assert found is not None
    assert found.refused == NOW + 3 * DAY
    again = lag(records.refused("p", "2.0.0", None), ["p"], "2.0.0", 30.0)
    assert again is not None
    assert again.refused == NOW + 10 * DAY


def test_one_that_is_not_refused_for_its_age_is_never_due() -> None:
    found = lag(seen((50, "1.0.0"), (40, "1.1.0")), ["p"], "1.0.0", None)
    assert found is not None
    assert not found.due(NOW, 365)
    assert found.told("Gitea's runner", NOW) == "Gitea's runner is 1.0.0, and 1.1.0 is out"


def test_a_service_that_offers_another_version_each_time_fills_nothing() -> None:
    records = ClientRecords()
    for number in range(MOST_OFFERED + 50):
        records = records.noted("gpu", f"2.{number}.0", NOW + number)
    kept = [one.version for one in records.offers["gpu"]]
    assert kept == [f"2.{number}.0" for number in range(50, MOST_OFFERED + 50)]


def test_a_checksum_that_was_told_once_is_held_to() -> None:
    release = ClientRelease("2.0.0", "a" * 64, None, "GitHub at x")
    records = ClientRecords().pinned("github", "amd64", release, NOW)
    assert records.pinned("github", "amd64", release, NOW + 1) == records
    other = replace(release, sha256="b" * 64)
    with pytest.raises(ValueError, match="tells another checksum"):
        records.pinned("github", "amd64", other, NOW)
    assert len(records.pinned("github", "arm64", other, NOW).pins) == 2


# -- the condition ---------------------------------------------------------------------------------


def told(records: ClientRecords, client: ImageClient = RUNNER, version: str = "2.0.0") -> list[str]:
    labels = {LABEL_GATE: GATE_PROTOCOL, LABEL_CLIENT: version}
    survey = Survey(images={IMAGE: ImageSeen.labelled("sha256:1", labels)}, clients=records)
    pool = PoolSpec(name=PoolName("p"), provider="github", slots=2, gpus=0)
    slots = [
        SlotSpec(slot(pool.name, index), index, pool, "sha256:1", "0", reference=IMAGE)
        for index in range(2)
    ]
    found = image_conditions(slots, survey, {pool.name: Traits(client=client)}, NOW)
    return [f"{one.severity.value} {one.text}" for one in found]


def test_the_last_ten_days_are_counted_down() -> None:
    assert told(seen((19, "2.0.0"), (1, "2.1.0"))) == []
    line = f"image {IMAGE}: GitHub's runner is 2.0.0, and 2.1.0 is out: the older one"
    ten, three = seen((20, "2.0.0"), (1, "2.1.0")), seen((27, "2.0.0"), (1, "2.1.0"))
    assert told(ten) == [f"{Severity.WARNING.value} {line} is refused in 10 days"]
    assert told(three) == [f"{Severity.ERROR.value} {line} is refused in 3 days"]
    over = told(seen((31, "2.0.0"), (1, "2.1.0")))
    assert over == [f"{Severity.ERROR.value} {line} may be refused already"]


def test_it_goes_when_the_image_has_the_newest() -> None:
    assert told(seen((31, "2.0.0"), (1, "2.1.0")), version="2.1.0") == []


def test_a_service_that_names_no_time_is_a_warning() -> None:
    agent = replace(RUNNER, name="Microsoft's agent", good_for=0.0)
    (line,) = told(seen((2, "2.0.0"), (1, "2.1.0")), agent)
    assert line.startswith(Severity.WARNING.value)
    assert told(seen((2, "2.0.0"), (1, "2.1.0")), replace(RUNNER, good_for=None)) == []


# -- how an image was built ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        ImageBuild("cpu", "github"),
        ImageBuild("12.8", "azure", "base", "ubuntu22.04", None, 1234, {"PACKAGES": "git jq"}),
        ImageBuild("cpu", "gitlab", base="lab/x:1", tag="lab/x:1-agent"),
    ],
)
def test_an_image_says_how_it_was_built(plan: ImageBuild) -> None:
    assert build_of(plan.label()) == plan


@pytest.mark.parametrize(
    "label",
    [
        None,
        "",
        "{",
        "[]",
        '{"name":"cpu"}',
        '{"name":1,"provider":"github"}',
        '{"name":"cpu","provider":"github","uid":true}',
        '{"name":"cpu","provider":"github","arguments":{"A":1}}',
        '{"name":"cpu","provider":"github","base":[]}',
        '{"name":"cpu","provider":"github","base":"a\\u0000b"}',
        '{"name":"cpu","provider":"github\\u001b[2J"}',
        '{"name":"cpu","provider":"github","tag":"$(id)"}',
        '{"name":"cpu","provider":"github","arguments":{"BUILDKIT_SYNTAX":"lab/frontend"}}',
        "[" * 5000,
        "x" * 10_000,
    ],
)
def test_what_says_nothing_that_is_understood_is_nothing(label: str | None) -> None:
    assert build_of(label) is None
