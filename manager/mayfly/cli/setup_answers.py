"""What ``mayfly init`` is told beforehand: by its options, or by a file that ``--from`` names.

The file's keys are the options' names with an underscore for a hyphen. It is strict: what is unknown, or of
another kind, is a mistake, and all are told at once. It never holds a secret.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path

from mayfly.cli.trouble import Usage
from mayfly.core.plain_text import clean
from mayfly.providers import Hints

LARGEST = 64 * 1024  # bytes of an answers file


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of the pool that is to be; ``None``: nobody has said."""

    provider: str | None = None
    name: str | None = None
    slots: int | None = None
    gpus: int | None = None
    url: str | None = None
    agent_pool: str | None = None  # of agents, at the service
    scope: str | None = None  # where the service's runners belong
    credential: str | None = None  # the name that systemd hands the secret over by
    token_file: str | None = None  # a file that holds the secret
    app: str | None = None  # an App's id: the secret is its private key
    plain_http: bool | None = None
    ca: str | None = None
    proxy: str | None = None
    no_proxy: str | None = None
    canary_job: str | None = None  # what is run at the service at the end
    canary: bool | None = None  # a job of the pool's own queue is run at the end
    containers: bool | None = None  # jobs may bring their own

    def given(self) -> Mapping[str, object]:
        """What was said, by the option's name."""
        return {
            f"--{one.name.replace('_', '-')}": value
            for one in fields(self)
            if (value := getattr(self, one.name)) is not None
        }

    def of_a_pool(self) -> Mapping[str, object]:
        """The same of what a pool is to be, without what is tried at the end."""
        given = self.given()
        return {option: said for option, said in given.items() if not option.startswith("--canary")}

    def keys(self, hints: Hints) -> dict[str, str]:
        """The keys of the provider's own table that were answered."""
        said = {hints.group_key: self.agent_pool, hints.place_key: self.scope}
        return {key: value for key, value in said.items() if key and value is not None}

    def chosen(self, hints: Hints, keys: Mapping[str, str]) -> Answers:
        """With these keys of the provider's own table."""
        fields_of = {"url": "url", hints.group_key: "agent_pool", hints.place_key: "scope"}
        said = {fields_of[key]: value for key, value in keys.items() if fields_of.get(key)}
        return replace(self, **said)  # type: ignore[arg-type]


KINDS: Mapping[str, type] = {
    one.name: {
        "slots": int,
        "gpus": int,
        "plain_http": bool,
        "canary": bool,
        "containers": bool,
    }.get(one.name, str)
    for one in fields(Answers)
}
LEAST: Mapping[str, int] = {"slots": 1, "gpus": 0}
_WORDS = {str: "a text", int: "a whole number", bool: "true or false"}


def read_answers(path: str) -> Answers:
    """The answers in a file; ``Usage`` with every mistake in it."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise Usage(f"--from {clean(path)} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise Usage(f"--from {clean(path)} is larger than 64 KiB")
    try:
        tree = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise Usage(f"--from {clean(path)} is not UTF-8 text (byte {error.start})") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Usage(f"--from {clean(path)} is not TOML: {clean(str(error))}") from error
    mistakes = list(_mistakes(tree))
    if mistakes:
        raise Usage("\n".join(f"--from {clean(path)}: {mistake}" for mistake in mistakes))
    return Answers(**tree)


def _mistakes(tree: Mapping[str, object]) -> Iterator[str]:
    for key, value in tree.items():
        if key in ("token", "key", "app_key", "secret"):
            yield f"{key}: a secret has no place in this file: say token_file, or credential"
        elif key not in KINDS:
            near = get_close_matches(key, KINDS, 1)
            meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(KINDS)}"
            yield f"{clean(key)}: there is no such key{meant}"
        elif type(value) is not KINDS[key]:
            yield f"{key}: must be {_WORDS[KINDS[key]]}, not {clean(repr(value))}"
        elif isinstance(value, int) and value < LEAST.get(key, value):
            yield f"{key}: must be {LEAST[key]} or more, not {value}"
