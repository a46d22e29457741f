"""``mayfly init`` looks at the pools that are there, and asks anew for a secret that a service refuses.

Nothing is written here. A pool that somebody leaves as it is keeps it from nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mayfly.cli.examination import handed_over
from mayfly.cli.setup_files import Layout, WantedFile, drop_ins
from mayfly.cli.setup_flow import Question
from mayfly.cli.setup_look import HERE, Unserved
from mayfly.cli.setup_questions import Questions
from mayfly.cli.setup_secret import app_of, from_key_file, held, no_key_file, pointed
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble
from mayfly.core.model import Config, PoolSpec
from mayfly.edge.credentials import Secret
from mayfly.edge.provider_keys import secrets_of

NONE = "none"  # typed to leave a key as it is


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of it."""

    files: tuple[WantedFile, ...]  # to be written
    working: tuple[str, ...]  # the pools that work then
    left: str  # a sentence on those that do not; "": all do


def mended(
    config: Config,
    layout: Layout,
    questions: Questions,
    see: Callable[[PoolSpec, Config], None],
) -> Mended:
    """Each pool looked at by ``see``, which raises ``Unserved``; ``Trouble`` where none works."""
    files: list[WantedFile] = []
    working, broken = [], []
    for pool in config.pools:
        more = [] if pool.embedded else _pool(pool, config, layout, questions, see)
        if more is None:
            broken.append(str(pool.name))
            continue
        files += more
        working.append(str(pool.name))
    left = ""
    if broken:
        which = "pool" if len(broken) == 1 else "pools"
        do = "does" if len(broken) == 1 else "do"
        left = f"{which} {', '.join(broken)} still {do} not work, as said above"
    if left and not working:
        raise Trouble(f"{left}; nothing is written")
    return Mended(tuple(files), tuple(working), left)


def _pool(
    pool: PoolSpec,
    config: Config,
    layout: Layout,
    questions: Questions,
    see: Callable[[PoolSpec, Config], None],
) -> list[WantedFile] | None:
    """What is to be written so that the pool works; ``None`` where it is left as it is."""
    (reference, *_) = [*secrets_of(pool.settings)] or [{}]
    credential = reference.get("credential")
    place = layout.stored(credential) if credential else Path(reference.get("file", ""))
    # Where it is not kept here, systemd may have it from elsewhere.
    given = {"file": str(place)} if place.is_file() else reference
    text: Secret | None = None
    while True:
        try:
            with handed_over():
                see(replace(pool, settings=pointed(pool.settings, reference, given)), config)
            break
        except Unserved as refusal:
            say(str(refusal).removesuffix(HERE))
            # Another secret would not help where another authority would, or some patience.
            if refusal.untrusted:
                return None
            if refusal.passing:
                if not questions.yes(f"Try pool {pool.name} again", otherwise=True):
                    return None
                continue
            text = _another_secret(pool, place, questions)
            if text is None:
                return None
            given = held(text).reference
    say(f'pool "{pool.name}": its service lets it be')
    own = drop_ins(layout, credential) if credential else []
    if text is None:
        return own
    return [WantedFile(place, f"{text.reveal()}\n", secret=True), *own]


def _another_secret(pool: PoolSpec, place: Path, questions: Questions) -> Secret | None:
    """What a person gives in place of a secret that is refused; ``None``: nothing."""
    app = app_of(pool.settings)
    if app is None:
        text = f"Another secret for pool {pool.name}, kept in {place}; Enter to leave it"
        typed = questions.secret(text)
        return Secret(typed) if typed else None
    asked = f"The file of another private key of App {app} (.pem), or {NONE} to leave it"
    file = questions.ask(
        Question("secret", asked, NONE, unseen=True),
        lambda text: None if text == NONE else no_key_file(text),
    )
    return from_key_file(file) if file != NONE else None
