"""What can stand for an option's value or an argument, for the shell's completion: names that there are now.

By what help calls the value (``SLOT``, ``JOB``, ``FILE``), so that a new verb has it without a word here.
Asks the manager, the folder or the package; whoever does not answer in a moment offers nothing, and silently.
Names that a shell would make something of are not offered: what is offered is typed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mayfly.cli.box_names import VARIABLE
from mayfly.cli.client import Client, find_socket
from mayfly.cli.trouble import Trouble
from mayfly.core.model import JobState, Priority
from mayfly.core.plain_text import clean, one_line, shortened

SECONDS = 0.2  # that the manager may say nothing
MOST = 200  # jobs or runs that are offered
ROOM = 60  # characters beside a name
PLAIN = re.compile(r"[\w][\w./@:%+=,-]*", re.ASCII)  # what no shell makes anything of
OPEN = (JobState.QUEUED, JobState.RUNNING)
OVER = tuple(state for state in JobState if state not in OPEN)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be typed, and what it is about."""

    value: str
    about: str = ""


class Place(StrEnum):
    """What the shell itself knows best."""

    FILES = "files"
    FOLDERS = "folders"


@dataclass(slots=True)
class Typed:
    """A command line up to where it is to be completed, and who may be asked about it."""

    verb: str
    given: Mapping[str, Any]  # of the verb and of what is before it, by parameter
    words: tuple[str, ...]  # all of it
    word: str  # as far as it is typed

    def rows(self, path: str, key: str, query: Mapping[str, object] | None = None) -> list[Any]:
        """A list of the manager's document; none where it does not answer."""
        # What is asked of a cluster, or over ssh, takes too long for a key.
        elsewhere = any(word.partition("=")[0] in {"--context", "--host"} for word in self.words)
        if elsewhere or os.environ.get(VARIABLE):
            return []
        try:
            where = find_socket(self.given.get("socket"), self.given.get("config"))
            document = Client(where, patience=0.0).get(path, query or {}, timeout=SECONDS)
        except Trouble:
            return []
        rows = document.get(key)
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def slots(self) -> list[Any]:
        """The slots as they are."""
        return self.rows("/v1/status", "slots")


Source = Callable[[Typed], Iterable[Candidate]]


def _slots(typed: Typed) -> Iterator[Candidate]:
    for row in typed.slots():
        cordoned = bool(row.get("cordoned"))
        if typed.verb in ("cordon", "uncordon") and cordoned == (typed.verb == "cordon"):
            continue
        if typed.verb in ("attach", "hold", "release") and row.get("job") is None:
            continue
        words = (row.get("phase"), "cordoned" if cordoned else "", row.get("job"), row.get("note"))
        yield Candidate(str(row.get("slot")), _said(*words))


def _jobs_of(*states: JobState, mine: bool = False, held: bool = False) -> Source:
    """Jobs in those states, and those that are ``held``: what runs, what waits, and what has ended, the last
    first.
    """
    ended = held or bool({*states} & {*OVER})
    query = {"mine": int(mine) or None, "limit": MOST if ended else 0, "most": MOST}

    def found(typed: Typed) -> Iterator[Candidate]:
        rows = typed.rows("/v1/jobs", "jobs", query)
        over = [row for row in rows if row.get("state") not in OPEN]
        for row in (*(row for row in rows if row.get("state") in OPEN), *reversed(over)):
            if row.get("state") in states or (held and row.get("held")):
                words = (row.get("state"), row.get("slot"), row.get("name"), row.get("command"))
                yield Candidate(str(row.get("job")), _said(*words))

    return found


def _jobs(typed: Typed) -> Iterable[Candidate]:
    """Those that the verb can do something with."""
    return _JOBS.get(typed.verb, _jobs_of(*OPEN))(typed)


_JOBS: Mapping[str, Source] = {
    "attach": _jobs_of(JobState.RUNNING, held=True),
    "release": _jobs_of(*OPEN, held=True),
    "fetch": _jobs_of(*OVER, mine=True),
    "logs": _jobs_of(*JobState),
    "describe": _jobs_of(*JobState),
}


def _slots_and_jobs(typed: Typed) -> Iterator[Candidate]:
    yield from _slots(typed)
    yield from _jobs(typed)


def _reservations(typed: Typed) -> Iterator[Candidate]:
    for row in typed.rows("/v1/reservations", "reservations"):
        words = (row.get("state"), row.get("user"), row.get("pool"), row.get("start"))
        yield Candidate(str(row.get("reservation")), _said(*words))


def _given_back(typed: Typed) -> Iterator[Candidate]:
    yield from _slots_and_jobs(typed)
    yield from _reservations(typed)


def _groups(typed: Typed) -> Iterator[Candidate]:
    rows = typed.rows("/v1/jobs", "jobs", {"limit": MOST, "most": MOST})
    for name in dict.fromkeys(row["group"] for row in reversed(rows) if row.get("group")):
        yield Candidate(str(name))


def _runs(typed: Typed) -> Iterator[Candidate]:
    for row in typed.rows("/v1/runs", "runs"):
        ref = str(row.get("ref") or "").removeprefix("refs/heads/")
        yield Candidate(str(row.get("run")), _said(row.get("state"), ref, row.get("subject")))


def _pools(typed: Typed) -> Iterator[Candidate]:
    rows = typed.slots()
    for pool, provider in dict.fromkeys((row.get("pool"), row.get("provider")) for row in rows):
        slots = sum(row.get("pool") == pool for row in rows)
        yield Candidate(str(pool), f"{provider}, {slots} slot{'s' if slots != 1 else ''}")


def _gpus(typed: Typed) -> Iterator[Candidate]:
    for row in typed.rows("/v1/gpus", "gpus"):
        yield Candidate(str(row.get("uuid")), _said(row.get("index"), row.get("model")))


def _providers(_: Typed) -> Iterator[Candidate]:
    from mayfly.providers.installed import packages  # noqa: PLC0415  for this word alone

    yield from map(Candidate, packages())


def _versions(typed: Typed) -> Iterator[Candidate]:
    """The CUDA versions of the manager's slots; what stands before a comma stays."""
    from mayfly.core.pipeline.offered import cuda_versions  # noqa: PLC0415

    before, comma, _ = typed.word.rpartition(",")
    there = before.split(",")
    for version in cuda_versions({"slots": typed.slots()}):
        if version not in there:
            yield Candidate(f"{before}{comma}{version}")
    if not comma:
        yield Candidate("all", "each that a pool has")


def _catalogued(_: Typed) -> Iterator[Candidate]:
    """The CUDA versions that there are images for."""
    from mayfly.core.images import text  # noqa: PLC0415
    from mayfly.edge.catalogue import catalogue  # noqa: PLC0415

    for row in catalogue().rows:
        yield Candidate(text(row.cuda), f"needs a driver of {row.driver} or newer")


def _buildable(typed: Typed) -> Iterator[Candidate]:
    yield Candidate("cpu", "without CUDA")
    yield Candidate("wheels", "for building Python's wheels")
    yield from _catalogued(typed)


def _distributions(_: Typed) -> Iterator[Candidate]:
    from mayfly.edge.catalogue import catalogue  # noqa: PLC0415

    rows = catalogue().rows
    yield from map(
        Candidate, dict.fromkeys(d for row in rows for b in row.bases.values() for d in b)
    )


def _images(typed: Typed) -> Iterator[Candidate]:
    named = (row.get("image") for row in typed.slots())
    yield from (Candidate(str(one)) for one in dict.fromkeys(named) if one)


def _refs(typed: Typed) -> Iterator[Candidate]:
    """Branches and tags of the repository that is meant; of a range what stands before its dots stays."""
    import subprocess  # noqa: PLC0415

    folder = next((word for word in reversed(typed.words) if Path(word).is_dir()), ".")
    git = ["git", "-C", folder, "for-each-ref", f"--count={MOST}", "--format=%(refname:short)"]
    git += ["refs/heads", "refs/tags"]
    try:
        done = subprocess.run(git, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    before, dots, _ = typed.word.rpartition("..")
    for name in done.stdout.decode(errors="replace").split():
        yield Candidate(f"{before}{dots}{name}")


def _targets(typed: Typed) -> Iterator[Candidate]:
    """Whom the configuration tells of conditions and jobs' ends."""
    from mayfly.edge import sources  # noqa: PLC0415

    named = typed.given.get("config") or os.environ.get(sources.ENV_FILE) or sources.DEFAULT_FILE
    try:
        layers = [sources.read_toml(file) for file in sources.files(Path(str(named)))]
    except sources.Unreadable:
        return
    for layer in layers:
        host = layer.tree.get("host")
        several = host.get("notify") if isinstance(host, dict) else None
        for target in several if isinstance(several, list) else ():
            if isinstance(target, dict) and isinstance(name := target.get("name"), str):
                yield Candidate(name)


def _variables(_: Typed) -> Iterator[Candidate]:
    """Yours: a name alone takes its value along."""
    yield from map(Candidate, sorted(os.environ))


def _zones(_: Typed) -> Iterator[Candidate]:
    from zoneinfo import available_timezones  # noqa: PLC0415

    yield from map(Candidate, sorted(available_timezones()))


def _outcomes(_: Typed) -> Iterator[Candidate]:
    from mayfly.cli.verbs_history import OUTCOMES  # noqa: PLC0415

    yield from map(Candidate, OUTCOMES)


def _verbs(typed: Typed) -> Iterator[Candidate]:
    from mayfly.cli.help_topics import TOPICS  # noqa: PLC0415
    from mayfly.cli.verbs import VERBS, subverbs  # noqa: PLC0415

    words = typed.given.get("words") or []
    if not words:
        yield from map(Candidate, VERBS)
        yield from (Candidate(name, topic.about) for name, topic in TOPICS.items())
        if typed.word:  # there are many
            from mayfly.cli.troubleshooting import sections  # noqa: PLC0415

            yield from (Candidate(code, _said(said["Why"])) for code, said in sections().items())
    elif len(words) == 1 and words[0] in VERBS:
        yield from map(Candidate, subverbs(words[0]))


def _words(*words: str) -> Source:
    return lambda _: map(Candidate, words)


# By what help calls the value.
BY_NAME: Mapping[str, Source | Place] = {
    "SLOT": _slots,
    "JOB": _jobs,
    "SLOT|JOB": _slots_and_jobs,
    "GROUP": _groups,
    "RUN": _runs,
    "POOL": _pools,
    "GPU": _gpus,
    "UUID": _gpus,
    "VERSION": _versions,
    "IMAGE": _images,
    "STATE": _words(*JobState),
    "CLASS": _words(*Priority),
    "SERVICE": _providers,
    "TARGET": _targets,
    "ZONE": _zones,
    "K=V": _variables,
    **dict.fromkeys(("REF", "BRANCH", "COMMIT", "BASE..HEAD"), _refs),
    **dict.fromkeys(("FILE", "PATH", "PATH[=HERE]", "CMD"), Place.FILES),
    **dict.fromkeys(("DIR", "FOLDER", "REPO.git"), Place.FOLDERS),
    "VERB|TOPIC|CODE": _verbs,
    "SHELL": _words("bash", "zsh", "fish"),
    "heal|unlock": _words("heal", "unlock"),
    "test": _words("test"),
}
# Where one name means something else, by verb and parameter.
OF_VERBS: Mapping[str, Source | Place] = {
    "cancel --state": _words(*OPEN),
    "release name": _given_back,
    "reserve --extend": _reservations,
    "history --outcome": _outcomes,
    "init --provider": _providers,
    "doctor --provider": _providers,
    "images select --provider": _providers,
    "images select --cuda": _catalogued,
    "images select --cuda-driver": _catalogued,
    "images select --arch": _words("amd64", "arm64"),
    "images build wanted": _buildable,
    "images build --provider": _providers,
    "images build --flavour": _words("base", "runtime", "devel"),
    "images build --distribution": _distributions,
}
# Values that nobody knows but who types them; `NAME` and `TEXT` are such where no verb is named above.
FREE = frozenset(
    {
        *(
            "N",
            "TIME",
            "SECONDS",
            "DAYS",
            "TEXT",
            "NAME",
            "ID",
            "URL",
            "HOSTS",
            "PLACE",
            "REGISTRY",
        ),
        *("KEY=A,B", "SIZE", "X.Y", "NAME=VALUE", "-"),
    }
)


def source_of(verb: str, parameter: Any) -> Source | Place | None:
    """Who knows what may stand there; ``None`` where nobody does."""
    named = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
    return OF_VERBS.get(f"{verb} {named}") or BY_NAME.get(called(parameter))


def called(parameter: Any) -> str:
    """What help calls the value, without the marks of how often it may be there."""
    name = re.sub(r"\.\.\.|…|-- ", "", str(parameter.metavar or ""))
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name


def offered(parameter: Any, typed: Typed) -> Place | list[Candidate]:
    """What the word may become."""
    source = source_of(typed.verb, parameter)
    if source is None or isinstance(source, Place):
        return source or []
    there = typed.given.get(parameter.name)
    there = there if isinstance(there, list | tuple) else ()
    found = (one for one in source(typed) if one.value.startswith(typed.word))
    return [one for one in found if one.value not in there and PLAIN.fullmatch(one.value)]


def _said(*words: object) -> str:
    """What people are told beside a name: one line, of what others have written too."""
    return shortened(one_line(clean("  ".join(str(word) for word in words if word))), ROOM)


SlotArgument = Annotated[str, typer.Argument(metavar="SLOT")]
SlotsArgument = Annotated[list[str] | None, typer.Argument(metavar="[SLOT...]")]
SlotOption = Annotated[str | None, typer.Option("--slot", metavar="SLOT", help="Only this slot.")]
SlotOrJobArgument = Annotated[str, typer.Argument(metavar="SLOT|JOB")]
