"""The talk of ``mayfly init``: asks what it cannot know, looks at the service, asks again what it refuses.

What comes of it is a pool that the service lets be. Nothing is written here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mayfly.cli.init_text import Found, credential_name
from mayfly.cli.setup_answers import Answers
from mayfly.cli.setup_files import Layout
from mayfly.cli.setup_flow import (
    URL_SAYS,
    Look,
    Question,
    Ready,
    Situation,
    addressed,
    next_step,
    picked,
)
from mayfly.cli.setup_look import Unserved, bare_pool, surveyed
from mayfly.cli.setup_questions import Questions
from mayfly.cli.setup_secret import (
    LARGEST,
    GivenSecret,
    from_bytes,
    from_key_file,
    held,
    no_key_file,
    pasted_key,
)
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.mounts import ca_problem
from mayfly.core.quantities import whole_number
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault
from mayfly.providers import Package
from mayfly.providers.installed import packages
from mayfly.providers.setting_up import Survey

PROVIDERS = tuple(packages())
APP = "app"  # typed in place of a token
NONE = "none"  # typed in place of a file
STDIN = "-"  # in place of a file
TOKEN = "token-file"  # noqa: S105  the option that names one


@dataclass(frozen=True, slots=True)
class Interviewed:
    """What is known afterwards."""

    package: Package
    answers: Answers  # with a provider, a name, a number of slots and of GPUs
    secret: GivenSecret | None  # None: it has none, or nobody looked


class Interview:
    """One talk about one pool."""

    def __init__(
        self,
        found: Found,
        layout: Layout,
        questions: Questions,
        *,
        taken: Sequence[str],
        unfit: Callable[[str], str | None],
        unchecked: bool,
        trial: bool,
    ) -> None:
        """``unfit`` says why what is there lets no pool of that name be written; ``None``: it does."""
        self._found, self._layout, self._questions = found, layout, questions
        self._taken, self._unfit = taken, unfit
        self._unchecked, self._trial = unchecked, trial
        self._secret: GivenSecret | None = None
        self._former: Answers = Answers()  # what the service refused

    def hold(self, answers: Answers) -> Interviewed:
        """Ask and look until all is known; ``Unserved`` where nobody can be asked about a refusal."""
        survey: Survey | None = None
        if answers.provider is not None:
            answers = self._opening(answers)
        while True:
            package = packages()[answers.provider] if answers.provider is not None else None
            step = next_step(
                Situation(
                    answers,
                    self._found,
                    package,
                    self._secret is not None,
                    self._unchecked,
                    survey,
                    self._taken,
                    PROVIDERS,
                )
            )
            match step:
                case Ready():
                    assert package is not None
                    filled = replace(answers, gpus=answers.gpus or 0)
                    return Interviewed(package, filled, self._secret)
                case Look():
                    assert package is not None
                    survey, answers = self._looked(package, answers)
                case Question():
                    answers = self._answered(step, package, answers, survey)
                    survey = None if step.key in ("choice", "url", "secret") else survey

    # -- the service --------------------------------------------------------------------------------

    def _looked(self, package: Package, answers: Answers) -> tuple[Survey | None, Answers]:
        """What there is; where the service refuses, somebody is asked again, and nothing was seen."""
        assert self._secret is not None
        answers = _through_proxy(answers)
        pool = bare_pool(
            answers.name or package.name,
            package.name,
            answers.ca,
            answers.proxy,
            answers.no_proxy,
        )
        url = answers.url or ""
        if url != self._looked_at:
            say(f"looking at {url}")
        self._looked_at = url
        try:
            survey = surveyed(
                package,
                pool,
                url,
                self._secret.reference,
                app=answers.app,
                keys=answers.keys(package.hints),
                trial=self._trial,
            )
        except Unserved as refusal:
            return None, self.refused(refusal, answers)
        if survey.found:
            say(survey.found)
        return survey, answers

    def refused(self, refusal: Unserved, answers: Answers) -> Answers:
        """The answers without those that the refusal is about, for another try; or the refusal itself."""
        if not self._questions.asking:
            raise Unserved(f"{refusal}; nothing is written") from refusal
        say(str(refusal))
        if refusal.untrusted:
            asked = f"A PEM file of the authority to trust, or {NONE} to give another address"
            path = self._questions.ask(
                Question("secret", asked, NONE),
                lambda text: None if text == NONE else _not_authorities(text),
            )
            if path != NONE:
                return replace(answers, ca=str(Path(path).absolute()))
        say("nothing is written; Enter takes what was said before, ^C ends this")
        self._former = replace(answers, agent_pool=None, scope=None)
        self._kept, self._secret = self._secret, None
        return replace(answers, url=None, agent_pool=None, scope=None, app=None)

    _looked_at = ""
    _kept: GivenSecret | None = None  # a secret that was refused; Enter takes it once more

    # -- a person --------------------------------------------------------------------------------------

    def _opening(self, answers: Answers) -> Answers:
        """What was said beforehand, once it is seen that it can be meant."""
        provider = answers.provider or ""
        if (why := not_a_service(provider, answers)) is not None:
            raise Usage(why)
        package = packages()[provider]
        if answers.url is not None:
            answers = replace(answers, url=addressed(answers.url))
            if (why := wrong_url(package, answers.url or "", answers)) is not None:
                raise Usage(why)
        for key, value in (("name", answers.name), (package.hints.place_key, answers.scope)):
            if value is not None and (why := wrong_value(package, key, value)) is not None:
                raise Usage(why)
        for key, value in (("proxy", answers.proxy), ("no_proxy", answers.no_proxy)):
            if value is not None and (why := wrong_value(package, key, value)) is not None:
                raise Usage(f"--{key.replace('_', '-')}: {why}")
        return self._given_secret(package, answers)

    def _given_secret(self, package: Package, answers: Answers) -> Answers:
        """The secret that an option names, read once: a file that others may read is refused at once."""
        if package.embedded or self._unchecked:
            return answers
        if answers.token_file == STDIN:
            self._secret = held(from_bytes(sys.stdin.buffer.read(LARGEST + 1), "the token"))
            return replace(answers, token_file=None)
        if answers.token_file is not None:
            self._secret = _from_file({"file": str(Path(answers.token_file).absolute())})
        elif answers.credential is not None:
            stored = self._layout.stored(answers.credential)
            if stored.exists():
                self._secret = _from_file({"file": str(stored)})
        return answers

    def _answered(
        self, step: Question, package: Package | None, answers: Answers, survey: Survey | None
    ) -> Answers:
        ask = self._questions.ask
        if package is None:
            name = ask(step, lambda answer: not_a_service(answer, answers))
            return self._opening(replace(answers, provider=name))
        match step.key:
            case "url":
                known = replace(step, default=self._former.url or step.default)
                url = addressed(
                    ask(known, lambda text: wrong_url(package, addressed(text), answers))
                )
                return replace(answers, url=url)
            case "secret":
                return self._asked_secret(step, package, answers)
            case "scope":
                place = ask(
                    step,
                    lambda text: (
                        None
                        if text == URL_SAYS
                        else wrong_value(package, package.hints.place_key, text)
                    ),
                )
                # (The empty text is taken for an answer, and for none in what is written.)
                return replace(answers, scope="" if place == URL_SAYS else place)
            case "choice":
                return self._chosen(step, package, answers, survey)
            case "name":
                return replace(
                    answers,
                    name=ask(
                        step,
                        lambda text: wrong_value(package, "name", text) or self._unfit(text),
                    ),
                )
            case "gpus" | "slots":
                least = step.least or 0
                number = int(ask(step, lambda text: _not_a_number(text, least)))
                return (
                    replace(answers, gpus=number)
                    if step.key == "gpus"
                    else replace(answers, slots=number)
                )
            case _:
                raise AssertionError(step.key)

    def _chosen(
        self, step: Question, package: Package, answers: Answers, survey: Survey | None
    ) -> Answers:
        assert survey is not None

        def wrong(answer: str) -> str | None:
            keys = picked(survey, answer, answers.url)
            if isinstance(keys, str):
                return keys
            return next(
                (
                    why
                    for key, value in keys.items()
                    if (why := wrong_value(package, key, value)) is not None
                ),
                None,
            )

        if not self._questions.asking and not survey.needed:
            # The service has a group of its own choice for whoever names none.
            return answers.chosen(package.hints, survey.offers[0].keys)
        keys = picked(survey, self._questions.ask(step, wrong), answers.url)
        assert not isinstance(keys, str)
        return answers.chosen(package.hints, keys)

    def _asked_secret(self, step: Question, package: Package, answers: Answers) -> Answers:
        if not self._questions.asking:
            raise Usage(
                f"{package.name} wants a token: --{TOKEN} FILE (- reads standard input), --credential NAME "
                f"of one in {self._layout.stored('NAME')}, or --unchecked to write what nobody has tried"
            )
        if package.hints.where_made and self._kept is None:
            say(f"a token is made at the service: {package.hints.where_made}")
        text = step.text + (f', or "{APP}" for an App' if package.hints.app else "")
        while True:
            if answers.app is not None:
                self._secret = self._key_of(answers.app)
                return answers
            typed = self._questions.secret(text)
            if not typed and self._kept is not None:
                self._secret = self._kept
                return replace(answers, app=self._former.app)
            if pasted_key(typed) and not package.hints.app:
                say(f"that is a private key, and {package.name} takes a token")
            elif pasted_key(typed):
                self._secret = held(Secret(typed))
                question = Question("secret", "The id of the App whose key that is", None)
                return replace(answers, app=self._questions.ask(question, _no_id))
            elif typed == APP and package.hints.app:
                question = Question("secret", "The App's id", self._former.app)
                answers = replace(answers, app=self._questions.ask(question, _no_id))
            elif typed:
                self._secret = held(Secret(typed))
                return answers
            else:
                say("an answer is needed")

    def _key_of(self, app: str) -> GivenSecret:
        text = f"The file of App {app}'s private key (.pem)"
        question = Question("secret", text, None, unseen=True)
        return held(from_key_file(self._questions.ask(question, no_key_file)))


def credential_of(answers: Answers) -> str:
    """What the pool's secret is called."""
    return answers.credential or credential_name(str(answers.name), answers.app)


def _from_file(reference: Mapping[str, str]) -> GivenSecret:
    try:
        credentials.read(reference)
    except Fault as fault:
        raise Trouble(str(fault)) from fault
    return GivenSecret(reference)


def _through_proxy(answers: Answers) -> Answers:
    """The proxy of this shell is written down: systemd's manager has not this environment."""
    from mayfly.edge.exchange import environment_proxy  # noqa: PLC0415  brings requests

    if answers.proxy is not None or answers.url is None:
        return answers
    proxy = environment_proxy(answers.url)
    if proxy is None:
        return answers
    say(f"through the proxy of this environment, {_without_password(proxy)}")
    none = answers.no_proxy or os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return replace(answers, proxy=proxy, no_proxy=none or None)


def _without_password(proxy: str) -> str:
    before, at, host = proxy.rpartition("@")
    return f"{before.partition('://')[0]}://…@{host}" if at else proxy


# -- what cannot be meant ------------------------------------------------------------------------------


def not_a_service(answer: str, answers: Answers) -> str | None:
    """Why jobs cannot come from there; ``None``: they can, and no option would be ignored."""
    if answer not in PROVIDERS:
        return f"there is no {answer!r}; there are {', '.join(PROVIDERS)}"
    service = packages()[answer]
    taken = {
        "--agent-pool": bool(service.hints.group_key),
        "--scope": bool(service.hints.place_key),
        "--app": service.hints.app,
        "--canary": service.embedded,
        "--canary-job": service.canary is not None,
        **dict.fromkeys(("--provider", "--name", "--slots", "--gpus", "--ca"), True),
        **dict.fromkeys(("--proxy", "--no-proxy", "--containers"), True),
    }
    if answers.canary and service.canary is not None:
        return f"--canary is of Mayfly's own queue: name what {answer} is to run by --canary-job"
    for option in answers.given():
        if not taken.get(option, not service.embedded):
            return f"{option} means nothing to {answer}"
    return None


def wrong_value(service: Package, key: str, answer: str, *, plain_http: bool = False) -> str | None:
    """What the configuration would say of a key that has this value; ``None``: nothing."""
    from mayfly.edge.config import ConfigError  # noqa: PLC0415  pydantic is heavy
    from mayfly.edge.sources import Layer, merge  # noqa: PLC0415
    from mayfly.providers.configuration import check  # noqa: PLC0415

    pool: dict[str, object] = {
        "name": "answer",
        "provider": service.name,
        "plain_http": plain_http,
    }
    if key in ("name", "proxy", "no_proxy"):
        pool[key] = answer
    else:
        pool[service.name] = {key: answer}
    try:
        check(merge([Layer("answers", {"pool": [pool]})]), "answers")
    except ConfigError as error:
        return next((problem.text for problem in error.problems if problem.key == key), None)
    return None


def wrong_url(service: Package, answer: str, answers: Answers) -> str | None:
    """The same of its URL, and how an `http://` one is taken here."""
    plain_http = bool(answers.plain_http)
    why = wrong_value(service, "url", answer, plain_http=plain_http)
    if why is None:
        return None
    if plain_http or wrong_value(service, "url", answer, plain_http=True) is not None:
        return f"the URL {why}"
    return f"the URL {why}, here by --plain-http"


def _not_authorities(path: str) -> str | None:
    from mayfly.edge.mounted import MountedPaths  # noqa: PLC0415

    whole = str(Path(path).absolute())
    return ca_problem(MountedPaths().look([whole])[whole], path)


def _not_a_number(answer: str, least: int) -> str | None:
    number = whole_number(answer)
    if number is not None and least <= number <= 1000:
        return None
    return f"{answer!r} is not a whole number from {least} to 1000"


def _no_id(answer: str) -> str | None:
    fit = answer.isascii() and answer.replace(".", "").isalnum()
    return None if fit else f"{answer!r} is no App's id: a number, or its client id"
