"""What ``mayfly init`` does next, given what it knows: ask a person, look at the service, go to work. Pure.

::

    where jobs come from ─▶ address ─▶ secret ─▶ look ─▶ choose ─▶ look … ─▶ name ─▶ GPUs ─▶ slots ─▶ ready
                                                   └── refused: address and secret are asked again

What is known already is not asked. Without a terminal each question has its default, or is a mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mayfly.cli.init_text import Found
from mayfly.cli.setup_answers import Answers
from mayfly.core.quantities import whole_number
from mayfly.providers import Package
from mayfly.providers.setting_up import OFFERED, Offer, Survey

URL_SAYS = "url"  # the answer of who has the address name the place

Key = Literal["provider", "url", "secret", "scope", "choice", "name", "gpus", "slots"]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to be asked."""

    key: Key
    text: str
    # what Enter means, and what is taken where nobody can be asked; None: it has to be answered
    default: str | None
    # shown with numbers above it
    offers: tuple[Offer, ...] = ()
    # the option that answers it, where nobody can be asked
    option: str = ""
    # a number from that on is wanted; None: a text
    least: int | None = None
    # a secret may be pasted in the answer's place: nothing is shown while it is typed
    unseen: bool = False


class Look:
    """The service is to be asked what there is."""


class Ready:
    """All is known."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known."""

    answers: Answers
    found: Found
    # of the answered provider; None: not answered yet
    package: Package | None = None
    # there is a secret to look with
    secret: bool = False
    # nobody looks at the service
    unchecked: bool = False
    # what the last look saw, with the answers of now; None: nobody has looked with them
    survey: Survey | None = None
    # names of pools that there are already
    taken: Sequence[str] = ()
    services: Sequence[str] = ()  # what jobs may come from


def next_step(now: Situation) -> Question | Look | Ready:
    """What is to be done next."""
    package, answers = now.package, now.answers
    if package is None:
        return Question(
            "provider", f"Where do jobs come from ({', '.join(now.services)})", now.services[0]
        )
    if not package.embedded:
        step = _of_service(now, package)
        if step is not None:
            return step
    if answers.name is None:
        return Question("name", "A name for the pool", _free(package.name, now.taken))
    if answers.gpus is None and now.found.gpus:
        return Question("gpus", "GPUs for each slot", str(int(now.found.nvidia)), least=0)
    if answers.slots is None:
        room = now.found.gpus // answers.gpus if answers.gpus and now.found.gpus else 2
        return Question("slots", "How many slots", str(max(1, room)), least=1)
    return Ready()


def _of_service(now: Situation, package: Package) -> Question | Look | None:
    answers, hints, survey = now.answers, package.hints, now.survey
    if answers.url is None:
        if now.unchecked or not hints.url:
            return Question("url", "Its URL", hints.url or None)
        # An example is no answer: Enter would take it for one.
        return Question("url", f"Its URL, such as {hints.url}", None)
    if now.unchecked:
        if hints.place_key and answers.scope is None:
            text = f"Its runners belong to ({URL_SAYS}, {hints.places})"
            return Question("scope", text, URL_SAYS)
        return None
    if not now.secret:
        return Question("secret", "Its token", None)
    if survey is None:
        return Look()
    if survey.question:
        few = len(survey.offers) == 1 or (survey.offers and not survey.needed)
        preferred = next(
            (
                number
                for number, offer in enumerate(survey.offers, 1)
                if hints.group_default in offer.keys.values()
            ),
            1 if few else None,
        )
        return Question(
            "choice",
            f"{survey.question}{_how(survey, package)}",
            None if preferred is None else str(preferred),
            survey.offers,
            _option(survey, package),
        )
    return None


def _how(survey: Survey, package: Package) -> str:
    """How an answer is typed where the offers do not show it, or not all of them."""
    hints = package.hints
    example = hints.places if survey.typed == hints.place_key else hints.url
    if not survey.typed:
        return ""
    if not survey.offers:
        return f" ({example})" if example else ""
    return (
        f" (the first {OFFERED}, or {example or 'a name'})" if len(survey.offers) == OFFERED else ""
    )


def _option(survey: Survey, package: Package) -> str:
    """The option that says what the survey asks."""
    options = {package.hints.group_key: "--agent-pool", package.hints.place_key: "--scope"}
    return options.get(survey.typed, "--url")


def _free(wanted: str, taken: Sequence[str]) -> str:
    """That name, or the first with a number behind it that no pool has."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def picked(survey: Survey, answer: str, url: str | None) -> dict[str, str] | str:
    """The keys that an answer to a survey's question names, or why it names none."""
    number = whole_number(answer)
    if number is not None and 1 <= number <= len(survey.offers):
        return dict(survey.offers[number - 1].keys)
    for offer in survey.offers:
        if answer in (offer.shown, *offer.keys.values()):
            return dict(offer.keys)
    if survey.typed and answer.strip("0123456789"):
        if survey.typed == "url" and "://" not in answer:
            answer = f"{(url or '').rstrip('/')}/{answer.strip('/')}"
        return {survey.typed: answer}
    most = len(survey.offers)
    if not most:
        return f"{answer!r} is none: type it as the question shows it"
    return f"{answer!r} is none of them: a number from 1 to {most}, or a name"


def addressed(text: str) -> str:
    """An address as it was meant: a browser leaves its scheme out."""
    return text if "://" in text or not text else f"https://{text}"
