"""Why an image could not be fetched, read from what ``docker pull`` printed; pure.

The texts are those of Docker 20.10 to 28, which hand on what the registry or the network answered.
"""

from __future__ import annotations

import re

from mayfly.edge.faults import Fault, Passing, Refused

_UNREACHED = (
    r"no such host|lookup .* on |server misbehaving|network is unreachable|no route to host|"
    r"connection (?:refused|reset)|i/o timeout|deadline exceeded|\bEOF\b|\b50[0234] "
)

# What docker says, the family, what that means and the next step; the first that matches counts.
_SAYINGS: tuple[tuple[re.Pattern[str], type[Passing | Refused], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), family, meaning, step)
    for pattern, family, meaning, step in (
        (
            r"cannot connect to the docker daemon",
            Passing,
            "no Engine answers",
            "look at `systemctl status docker`",
        ),
        (
            r"permission denied while trying to connect|connect: permission denied",
            Refused,
            "no permission to use the Engine",
            "run as root or join the docker group",
        ),
        (
            r"no basic auth credentials|unauthorized|authentication required",
            Refused,
            "its registry wants a login, or refuses the one it was given",
            "run `docker login {registry}` as the user who pulls",
        ),
        (
            r"pull access denied|\bdenied\b|403 Forbidden",
            Refused,
            "its registry has no such repository, or this login may not read it",
            "see to the name, or run `docker login {registry}` as the user who pulls",
        ),
        (
            r"no matching manifest|image operating system",
            Refused,
            "its registry does not have it for this machine's architecture",
            "build it for this one",
        ),
        (
            r"manifest unknown|name unknown|not found: manifest|repository .* not found",
            Refused,
            "its registry does not have it",
            "see to the name and the tag, or push it there",
        ),
        (r"toomanyrequests|rate limit", Passing, "its registry has had too many requests from here",
         "wait, or run `docker login {registry}`"),
        (r"HTTP response to HTTPS client", Refused, "its registry speaks HTTP and no TLS",
         'name it in "insecure-registries" of /etc/docker/daemon.json, or give it a certificate'),
        (r"x509:|certificate", Refused, "its registry's certificate is not trusted here",
         "put its CA into /etc/docker/certs.d/{registry}/ca.crt"),
        (r"no space left on device", Passing, "the Engine's disk is full", "free some space"),
        (r"invalid reference format", Refused, "that is no name of an image", "correct it"),
        (
            _UNREACHED,
            Passing,
            "its registry {registry} is not reached",
            "see to the network and the registry's name, then pull again",
        ),
    )
)  # fmt: skip


def unfetched(reference: str, said: str) -> Fault:
    """The fault for an image that was not fetched; ``said`` is all that docker wrote to standard error."""
    text = " ".join(said.split()).removeprefix("Error response from daemon: ").rstrip(".")
    for pattern, family, meaning, step in _SAYINGS:
        if pattern.search(text):
            words = f"{meaning}; {step}".format(registry=registry(reference))
            return family(f"image {reference} was not fetched: {words} (docker says: {text})")
    told = text or "docker ended without a word"
    return Passing(f"image {reference} was not fetched: {told}; pull again once that is mended")


def registry(reference: str) -> str:
    """The registry that an image's name leads to; Docker Hub's where it names none."""
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return "docker.io"
