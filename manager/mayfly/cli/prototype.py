"""``init --from-prototype -``: the command line of the 2019 prototype, as a configuration.

Its line is read from standard input, because it holds a personal access token: the token goes into a file
that only root can read, and into nothing else; no message here repeats what was read.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from mayfly.cli.init_text import Found, PoolAnswers, config_text
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.quantities import whole_number
from mayfly.edge.toml_value import toml_value

POOL = "azure"
PROGRAM = re.compile(r"(.*/)?manager\.py")
ONE = {
    "-n": "slots",
    "--name": "name",
    "-d": "image",
    "--timeout": "timeout",
    "--poll-time": "poll",
}
WANTED_WORDS = ("the token", "the URL", "the agent pool")


@dataclass(frozen=True, slots=True)
class Volume:
    """A directory that its agents saw read-only."""

    source: str
    target: str
    env: str


@dataclass(frozen=True, slots=True)
class Prototype:
    """What the old command line said."""

    token: str
    url: str
    agent_pool: str
    slots: int = 2
    name: str | None = None
    image: str | None = None
    volumes: tuple[Volume, ...] = ()

    def __repr__(self) -> str:
        """Everything but the token."""
        return f"Prototype(token=****, url={self.url!r}, agent_pool={self.agent_pool!r})"


def parse(text: str) -> Prototype:
    """The old command line, in one line or continued by backslashes, with whatever called it before it."""
    words = _words(text)
    places: list[str] = []
    options: dict[str, str] = {}
    volumes: list[Volume] = []
    while words:
        word = words.pop(0)
        key, _, joined = word.partition("=")
        if key == "--volume":
            # As argparse took it: every word up to the next option, and repeated ones, which it lost.
            group = [joined] if joined else []
            while words and not words[0].startswith("-"):
                group.append(words.pop(0))
            volumes += [_volume(entry) for entry in group]
        elif key in ONE:
            if not joined and not words:
                raise Usage(f"the old command line ends after {key}")
            options[ONE[key]] = joined or words.pop(0)
        elif word.startswith("-"):
            raise Usage("the old command line has an option that the prototype did not know")
        else:
            places.append(word)
    if len(places) != len(WANTED_WORDS):
        missing = ", ".join(WANTED_WORDS[len(places) :]) or "nothing, but has words too many"
        raise Usage(
            f"the old command line lacks {missing}; it is: manager.py TOKEN URL POOL [-n N] [--name NAME] "
            "[--volume HOST:CONTAINER:VARIABLE …]"
        )
    token, url, agent_pool = places
    if token.startswith(("$", "<")):
        raise Usage(
            "the token stands there as a variable: let the shell put it in, as in "
            '`echo "manager.py $PAT …" | mayfly init --from-prototype -`'
        )
    slots = whole_number(options.get("slots", "2"))
    if not slots:
        raise Usage("what follows -n is no number of agents")
    return Prototype(
        token,
        url,
        agent_pool,
        slots,
        options.get("name"),
        options.get("image"),
        tuple(volumes),
    )


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError:
        raise Usage("the old command line has a quote that is not closed") from None
    for place, word in enumerate(words):
        if PROGRAM.fullmatch(word):
            return words[place + 1 :]
    return words


def _volume(entry: str) -> Volume:
    parts = entry.split(":")
    if len(parts) != 3 or not all(parts):
        raise Usage("a --volume of the old command line is not HOST:CONTAINER:VARIABLE")
    return Volume(os.path.abspath(parts[0]), parts[1], parts[2])  # noqa: PTH100  the host need not have it


def text_of(old: Prototype, found: Found, token_file: str) -> str:
    """The whole configuration file."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", old.name or found.host).strip("-") or found.host
    per_slot = found.gpus // old.slots if found.nvidia else 0
    wanted = PoolAnswers(
        provider="azure",
        name=POOL,
        slots=old.slots,
        gpus=per_slot,
        url=old.url,
        group=old.agent_pool,
        token_file=token_file,
    )
    text = config_text(replace(found, host=name), wanted)
    if old.volumes:
        # They were shown at the service, where jobs may demand them.
        labels = f"labels = {toml_value([volume.env for volume in old.volumes])}"
        text = re.sub(r"(?m)^# labels = .*$", lambda _: labels, text)
    before = _in_comment(old.name or found.host)
    lines = [
        text,
        f"# From the prototype. Its agents were named {before}_0, _1, …: delete those in the agent pool.",
        "# Every agent saw every GPU there; here a GPU is in one slot (gpus above) unless share = true.",
    ]
    if old.image is not None:
        lines.append(
            f"# Its image, {_in_comment(old.image)}, has no gate: make yours FROM mayfly/azure:…"
        )
    for volume in old.volumes:
        lines += [
            "",
            "[[pool.dataset]]",
            f"source = {toml_value(volume.source)}",
            f"target = {toml_value(volume.target)}",
            f"env = {toml_value(volume.env)}",
        ]
    return "\n".join([*lines, ""])


def _in_comment(text: str) -> str:
    """What may stand in a comment, where no character may end the line."""
    return toml_value(text)[1:-1]


def keep_token(old: Prototype, path: Path, *, force: bool) -> None:
    """Write the token to a file of its own, readable by its owner alone."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(old.token + "\n")
    except FileExistsError:
        raise Trouble(f"{path} exists; write over it with --force") from None
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}; try sudo") from error
