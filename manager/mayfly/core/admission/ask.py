"""One request that is being decided on: what its rules read, and what they answer with that is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mayfly.core.admission import image_names
from mayfly.core.admission.grant import RESERVED, Grant
from mayfly.core.admission.objects import NAME, Kind, Known, Ref
from mayfly.core.admission.outcome import Outcome, Refused
from mayfly.core.admission.request import Request, shown
from mayfly.core.admission.weights import weigh_labels
from mayfly.core.naming import is_kept_for_belongings

NOT_THERE = {
    Kind.CONTAINER: "No such container: {}",
    Kind.EXEC: "No such exec instance: {}",
    Kind.NETWORK: "network {} not found",
    Kind.VOLUME: "get {}: no such volume",
    Kind.IMAGE: "No such image: {}",
}
# Each is the agent's own default network: Docker's own is the host's.
DEFAULT_NETWORKS = ("", "default", "bridge")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, whose it is, and what the Engine said of the things that it names."""

    request: Request
    grant: Grant
    known: Mapping[Ref, Known]
    named: Mapping[str, str] = field(default_factory=dict)  # by the parts of its path

    def own(self, kind: Kind, name: str) -> Known:
        """The thing; `Refused` with the Engine's own sentence where it is not there, or another's."""
        found = self.known.get(Ref(kind, name))
        if found is None:
            raise Refused(NOT_THERE[kind].format(shown(name)[1:-1]), 404, told=False)
        return found

    def container(self) -> Known:
        """That of the path."""
        return self.own(Kind.CONTAINER, self.named["container"])

    def image(self, name: str) -> Known:
        """The image, as far as the agent may use it."""
        found = self.known.get(Ref(Kind.IMAGE, name))
        # Where a pool pulls always, what another agent's credentials have fetched is not there either.
        if found is not None and (found.pulled or self.grant.pull != "always"):
            return found
        if found is None and image_names.parts(name) is not None and not image_names.is_id(name):
            allowed_or_refused(name, self.grant)
        told = image_names.familiar(name) or shown(name)[1:-1]
        raise Refused(f"No such image: {told}", 404, told=False)


Rule = Callable[[Ask], Outcome]


def allowed_or_refused(name: str, grant: Grant) -> None:
    """`Refused` where no pattern of the pool allows an image of that name."""
    if image_names.allowed(name, grant):
        return
    patterns = ", ".join(grant.allowed_images[:6]) or "none"
    read = image_names.parts(name)
    if read is not None and not image_names.is_known_registry(name, grant):
        patterns += f"; a registry of your own has to be named in it: {read[0]}/*"
    raise Refused(
        f"image {shown(name)} is not one that pool {shown(grant.pool)} allows (allowed_images: {patterns})"
    )


def free_name(grant: Grant, name: str, what: str) -> None:
    """`Refused` where nothing of the job's can be called so; ``what`` it is, for the sentence."""
    if not NAME.fullmatch(name):
        raise Refused(
            f"{shown(name)} is no name of {what}: letters, digits, _, . and - make one", 400
        )
    if is_kept_for_belongings(name):
        raise Refused(f"{shown(name)} is no name of {what} here: such names are Mayfly's own", 400)
    taken = {place.volume for place in (grant.work, *grant.shared) if place is not None}
    if grant.prefix + name in taken:
        raise Refused(f"{what} cannot be called {shown(name)}: the job's own directory is", 400)


def free_labels(labels: Mapping[str, Any] | None, where: str) -> dict[str, str]:
    """The labels; `Refused` where one is of those that Mayfly goes by."""
    for name in labels or {}:
        if name.startswith(RESERVED):
            raise Refused(f"{where}: labels that begin with {RESERVED} are Mayfly's own")
    weigh_labels(labels or {}, where)
    return dict(labels or {})
