"""What ``init`` does next: a table of what is known and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.cli.init_text import Found
from mayfly.cli.setup_answers import Answers
from mayfly.cli.setup_flow import Look, Question, Ready, Situation, addressed, next_step, picked
from mayfly.providers.installed import packages
from mayfly.providers.setting_up import OFFERED, Offer, Survey

HOST = Found("lab", None)
GPUS = Found("lab", "unix:///run/docker.sock", "28.1", ("nvidia", "runc"), 8)
POOLS = Survey(
    "two",
    "Which agent pool",
    (Offer("Default", {"agent_pool": "Default"}), Offer("gpu", {"agent_pool": "gpu"})),
    needed=True,
    typed="agent_pool",
)
URL = Answers("azure", url="https://dev.azure.com/lab")


def at(answers: Answers, **more: object) -> Situation:
    package = packages()[answers.provider] if answers.provider else None
    now = Situation(answers, HOST, package, services=tuple(packages()))
    return replace(now, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (at(Answers()), "provider"),
        (at(Answers("local")), "name"),
        (at(Answers("local", "cpu")), "slots"),
        (at(Answers("local", "cpu"), found=GPUS), "gpus"),
        (at(Answers("local", "cpu", 2)), Ready),
        (at(Answers("local", "cpu", 2), found=GPUS), "gpus"),
        (at(Answers("local", "cpu", 2, 1), found=GPUS), Ready),
        (at(Answers("azure")), "url"),
        (at(URL), "secret"),
        (at(URL, secret=True), Look),
        (at(URL, secret=True, survey=POOLS), "choice"),
        (at(URL, secret=True, survey=Survey()), "name"),
        (at(URL, unchecked=True), "name"),
        (at(Answers("gitlab", url="https://gitlab.lab"), unchecked=True), "scope"),
        (at(Answers("gitlab", url="https://gitlab.lab", scope="instance"), unchecked=True), "name"),
    ],
)
def test_what_is_known_is_not_asked_and_what_is_not_known_is(
    now: Situation, wanted: str | type
) -> None:
    step = next_step(now)
    assert step.key == wanted if isinstance(step, Question) else isinstance(step, wanted)  # type: ignore[arg-type]


def asked(now: Situation) -> Question:
    step = next_step(now)
    assert isinstance(step, Question)
    return step


def test_the_gpus_are_shared_out_among_as_many_slots_as_they_fill() -> None:
    assert asked(at(Answers("local", "gpu"), found=GPUS)).default == "1"
    assert asked(at(Answers("local", "gpu", gpus=2), found=GPUS)).default == "4"
    assert asked(at(Answers("local", "gpu", gpus=0), found=GPUS)).default == "2"


def test_a_pool_is_called_as_its_service_or_has_a_number_where_one_is_called_so() -> None:
    assert asked(at(Answers("local"))).default == "local"
    assert asked(at(Answers("local"), taken=("local", "local-2"))).default == "local-3"


def test_of_several_places_one_is_preferred_only_where_the_service_has_one_for_whoever_says_none() -> (
    None
):
    assert asked(at(URL, secret=True, survey=POOLS)).default == "1"  # it is called Default
    others = replace(
        POOLS, offers=(Offer("a", {"agent_pool": "a"}), Offer("b", {"agent_pool": "b"}))
    )
    assert asked(at(URL, secret=True, survey=others)).default is None
    alone = replace(POOLS, offers=others.offers[:1])
    assert asked(at(URL, secret=True, survey=alone)).default == "1"
    optional = replace(others, needed=False)
    assert asked(at(URL, secret=True, survey=optional)).default == "1"


def test_an_example_of_an_address_is_shown_and_never_taken_for_an_answer() -> None:
    step = asked(at(Answers("azure")))
    assert (step.text, step.default) == (
        "Its URL, such as https://dev.azure.com/ORGANISATION",
        None,
    )
    template = asked(at(Answers("azure"), unchecked=True))
    assert (template.text, template.default) == ("Its URL", "https://dev.azure.com/ORGANISATION")


def test_where_the_offers_are_none_or_not_all_it_is_shown_how_another_is_typed() -> None:
    git = Answers("gitlab", url="https://gitlab.lab")
    place = Survey("", "Where do its runners belong", needed=True, typed="scope")
    nothing = asked(at(git, secret=True, survey=place))
    assert nothing.text == "Where do its runners belong (group:ID, project:ID, instance)"
    few = replace(place, offers=(Offer("the group a", {"scope": "group:1"}),))
    assert asked(at(git, secret=True, survey=few)).text == "Where do its runners belong"
    many = replace(
        place, offers=tuple(Offer(f"{n}", {"scope": f"group:{n}"}) for n in range(OFFERED))
    )
    assert "(the first 40, or group:ID" in asked(at(git, secret=True, survey=many)).text
    assert "type it as the question shows it" in str(picked(place, "10", None))


@pytest.mark.parametrize(
    ("answer", "keys"),
    [
        ("2", {"agent_pool": "gpu"}),
        ("gpu", {"agent_pool": "gpu"}),
        ("elsewhere", {"agent_pool": "elsewhere"}),
        ("0", "none of them"),
        ("3", "none of them"),
        ("9" * 30, "none of them"),
    ],
)
def test_a_choice_is_a_number_or_a_name(answer: str, keys: object) -> None:
    found = picked(POOLS, answer, None)
    assert keys in found if isinstance(keys, str) else found == keys


def test_a_place_may_be_typed_below_the_address_that_is_known() -> None:
    there = replace(POOLS, typed="url")
    assert picked(there, "acme/app", "https://github.com") == {"url": "https://github.com/acme/app"}
    assert picked(there, "https://github.com/x", "https://github.com") == {
        "url": "https://github.com/x"
    }


def test_an_address_is_taken_without_its_scheme() -> None:
    assert addressed("github.com/acme") == "https://github.com/acme"
    assert addressed("http://git.lab") == "http://git.lab"
    assert addressed("") == ""


def test_keys_of_a_provider_are_named_as_it_names_them() -> None:
    hints = packages()["github"].hints
    chosen = Answers("github").chosen(hints, {"url": "https://x", "runner_group": "gpu"})
    assert (chosen.url, chosen.agent_pool) == ("https://x", "gpu")
    assert chosen.keys(hints) == {"runner_group": "gpu"}
