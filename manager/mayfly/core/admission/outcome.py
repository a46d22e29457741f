"""What becomes of a request: it goes out, is answered here, is refused, or something has to be made first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Streams(StrEnum):
    """How bytes go between client and Engine once the request is out."""

    NONE = "none"  # one answer, read whole; shown by `answers.shown`
    LINES = "lines"  # JSON documents one after the other, as long as it lasts; each shown so
    ANSWER = "answer"  # bytes from the Engine as they come: logs, an archive
    UPLOAD = "upload"  # bytes from the client as they come, then one answer: an archive
    HIJACK = "hijack"  # both ways at once, and each side may end alone: attach, exec


class Answer(StrEnum):
    """What the Engine answers with where all goes well, and therefore what of it is shown."""

    PLAIN = "plain"  # nothing, or what holds no names: as it is
    CREATED = "created"  # Id and Warnings
    CONTAINER = "container"
    CONTAINERS = "containers"
    CHANGES = "changes"
    TOP = "top"
    STATS = "stats"
    WAIT = "wait"
    EXEC = "exec"
    NETWORK = "network"
    NETWORKS = "networks"
    CUSTOM_NETWORKS = "custom networks"  # but for the one that stands for Docker's own
    VOLUME = "volume"
    VOLUMES = "volumes"
    IMAGE = "image"
    IMAGES = "images"
    HISTORY = "history"
    PULL = "pull"
    PRUNED = "pruned"
    EVENT = "event"
    INFO = "info"
    VERSION = "version"
    LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that has to be in a volume before a request goes out; one that is there is left alone."""

    volume: str  # at the Engine
    subpath: str  # relative, normalised, without ".."


@dataclass(frozen=True, slots=True)
class Forward:
    """What goes to the Engine, whole: nothing of the client's request goes along beside it."""

    method: str
    target: str  # path and query, encoded
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None  # sent as JSON; None: no body, or (UPLOAD) the client's
    makes: bool = False  # whether it can make what has to be cleared: `made` has to be there before
    streams: Streams = Streams.NONE
    answer: Answer = Answer.PLAIN
    directories: tuple[Directory, ...] = ()
    # whose number `Bounds` limits: "containers", "networks", "volumes", "processes"; None: it adds none
    counts: str | None = None
    # of a pull: the registry whose credentials the gateway sends along, as the grant has them; None: none
    registry: str | None = None
    volumes: int = 0  # beside that: how many volumes it makes at most

    @property
    def numbers(self) -> Mapping[str, int]:
        """How many of each kind that `Bounds` limits it makes at most."""
        made = {self.counts: 1} if self.counts is not None else {}
        return made | ({"volumes": self.volumes} if self.volumes else {})


@dataclass(frozen=True, slots=True)
class First:
    """What has to go to the Engine before: then the request's objects are looked up and it is admitted anew.

    Two requests of one agent may want the same: one after the other, and a 409 is as good as success.
    """

    make: Forward


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered without the Engine."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refuse:
    """What is not done: ``{"message": sentence}``, as clients show it.

    ``told``: whether it goes into the agent's history: all that a policy refuses, and not what is not there.
    """

    status: int
    sentence: str
    told: bool = True


Outcome = Forward | First | Reply | Refuse


class Refused(Exception):
    """Within this room alone: a rule has found what is not to be done."""

    def __init__(self, sentence: str, status: int = 403, *, told: bool = True) -> None:
        super().__init__(sentence)
        self.refuse = Refuse(status, sentence, told)
