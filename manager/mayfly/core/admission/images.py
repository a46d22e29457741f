"""Images are the Engine's, and all agents': a job fetches those that its pool allows, and looks at them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mayfly.core.admission import image_names
from mayfly.core.admission.ask import Ask, allowed_or_refused
from mayfly.core.admission.filters import OF_IMAGES, own_filters
from mayfly.core.admission.keys import Key, dropped, read_keys, text
from mayfly.core.admission.objects import Kind, Known, Ref
from mayfly.core.admission.outcome import Answer, Outcome, Refused, Reply, Streams
from mayfly.core.admission.request import Request, quoted, read_json, shown
from mayfly.core.admission.routes import (
    Expects,
    Route,
    anything,
    asked,
    ignored,
    out,
    refused,
    switch,
    word,
)

_PLATFORM = ignored(
    "platform"
)  # of several of one name the Engine keeps the last: it is the host's
_PULL = (
    word("fromImage", "one that `allowed_images` allows", r"[A-Za-z0-9._/:@\[\]-]{1,400}"),
    word("tag", "`latest` where nobody says one; never all of them", r"[A-Za-z0-9._:-]{1,200}"),
    _PLATFORM,
)
_LIST = (
    switch("all"),
    switch("digests"),
    *(ignored(name) for name in ("shared-size", "manifests", "identity", "only_ids")),
    anything("filters"),
)
CREDENTIALS = (
    Key("username", "as it is", text),
    Key("password", "as it is", text),
    Key("auth", "as it is", text),
    Key("identitytoken", "as it is", text),
    Key("registrytoken", "as it is", text),
    Key("serveraddress", "the registry of an image that `allowed_images` allows", text),
    dropped("email"),
)


def _pull(ask: Ask) -> Outcome:
    asked(ask, _PULL)
    name = pulled_name(ask.request)
    if name is None:
        raise Refused("fromImage is no name of an image", 400)
    allowed_or_refused(name, ask.grant)
    if ask.grant.pull == "never":
        raise Refused(
            f"pool {shown(ask.grant.pool)} fetches no images (pull = never): use one that is there: "
            "docker images"
        )
    there = ask.known.get(Ref(Kind.IMAGE, name))
    if ask.grant.pull == "missing" and there is not None:
        told = f"Status: Image is up to date for {image_names.familiar(name)}"
        return Reply(200, {"status": told})
    _movable(ask, name, there)
    read = image_names.parts(name)
    assert read is not None
    domain, path, tag, digest = read
    query = {"fromImage": f"{domain}/{path}", "tag": digest or tag or image_names.LATEST}
    own = credentials(ask)
    going = out(
        ask,
        "/images/create",
        query,
        streams=Streams.LINES,
        answer=Answer.PULL,
        headers=own,
    )
    # To the registry that the name says, letter for letter, and to no other.
    known = None if own else ask.grant.registry(domain)
    return going if known is None else replace(going, registry=known.address)


def _movable(ask: Ask, name: str, there: Known | None) -> None:
    """`Refused` where what is fetched would take a name from something else that this host goes by."""
    told = image_names.familiar(name)
    if image_names.is_of_agents(name, ask.grant):
        raise Refused(
            f"image {shown(str(told))} is not fetched for a job: agents of this host are made of images of "
            "that name. Give it another in your registry, or have it fetched by who keeps this host"
        )
    digest = (image_names.parts(name) or ("", "", "", ""))[3]
    if there is not None and not digest and not there.of_registry:
        raise Refused(
            f"image {shown(str(told))} was made on this host, and fetching would put another in its place: "
            "use another name, or have it removed by who keeps this host (docker image rm)"
        )


def pulled_name(request: Request) -> str | None:
    """The name of the image that a pull fetches; ``None``: it is none."""
    name, tag = request.query.get("fromImage", ""), request.query.get("tag", "")
    read = image_names.parts(name)
    if read is None:
        return None
    if not tag:
        return name
    if read[2] or read[3]:  # the name says it already, and then it has to say the same
        return name if tag in (read[2], read[3]) else None
    whole = f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"
    return whole if image_names.parts(whole) is not None else None


def credentials(ask: Ask) -> dict[str, str]:
    """The client's own, for the registry, put together anew; `Refused` where they are none."""
    said = ask.request.headers.get("x-registry-auth", "")
    if not said:
        return {}
    try:
        padded = said.rstrip("=") + "=" * (-len(said.rstrip("=")) % 4)
        raw = base64.b64decode(
            padded.replace("+", "-").replace("/", "_"), altchars=b"-_", validate=True
        )
    except (binascii.Error, ValueError):
        raise Refused("the header X-Registry-Auth cannot be read", 400) from None
    document = read_json(raw) if raw.strip() else None
    if not document:
        return {}
    read = {
        key: value
        for key, value in read_keys(document, CREDENTIALS, "X-Registry-Auth.").items()
        if value
    }
    again = base64.urlsafe_b64encode(json.dumps(read).encode()).decode()
    return {"X-Registry-Auth": again} if set(read) - {"serveraddress"} else {}


def _named_in_pull(request: Request, _named: Mapping[str, str]) -> tuple[Ref, ...]:
    name = pulled_name(request)
    return (Ref(Kind.IMAGE, name),) if name is not None else ()


def _list(ask: Ask) -> Outcome:
    said = asked(ask, _LIST)
    query = dict(said)
    query.pop("filters", None)
    if (filters := own_filters(ask, OF_IMAGES)) is not None:
        query["filters"] = filters
    return out(ask, "/images/json", query, answer=Answer.IMAGES)


def _look(rest: str, answer: Answer) -> Route:
    query = (ignored("manifests"), ignored("platform"))

    def rule(ask: Ask) -> Outcome:
        asked(ask, query)
        found = ask.image(ask.named["image"])
        return out(ask, f"/images/{quoted(found.id)}/{rest}", answer=answer)

    return Route("GET", f"/images/{{image}}/{rest}", "one that is allowed", rule, query)


def _prune(_ask: Ask) -> Outcome:
    return Reply(200, {"ImagesDeleted": None, "SpaceReclaimed": 0})


def _login(ask: Ask) -> Outcome:
    given: dict[str, Any] = read_keys(ask.request.body or {}, CREDENTIALS)
    address = given.get("serveraddress") or image_names.HUB
    registry = address.removeprefix("https://").removesuffix("/v1/").rstrip("/")
    if not image_names.registry_allowed(registry, ask.grant):
        patterns = ", ".join(ask.grant.allowed_images[:6]) or "none"
        raise Refused(
            f"registry {shown(registry)} is none that pool {shown(ask.grant.pool)} has images from "
            f"(allowed_images: {patterns})"
        )
    return out(ask, "/auth", body={**given, "serveraddress": address}, answer=Answer.LOGIN)


def _of_builds(path: str) -> Route:
    does = f"refused: {_BUILDS_NOT}: the pool's `builder` does, in a container"
    return Route("POST", path, does, _build)


def _build(ask: Ask) -> Outcome:
    """What to type instead, where the pool lets it have a container that may build."""
    builder = ask.grant.builder
    if builder is None:
        raise Refused(
            f"{_BUILDS_NOT}, and pool {shown(ask.grant.pool)} has no `builder`, an image whose containers "
            "may: have who keeps this host name one (docs/how-to/containers.md, 5), or build elsewhere, "
            "push, and name the image here"
        )
    raise Refused(f"{_BUILDS_NOT}: type {_TYPED.format(builder)}")


_KEPT = (
    "images are the host's, and shared by all agents: old ones are removed by Mayfly (images_keep)"
)
_BUILDS_NOT = "the Engine builds no images for a job"
_TYPED = (
    'docker run --rm -v "$PWD:/src" -w /src {} '
    "sh -c 'buildah build -t REGISTRY/NAME:TAG . && buildah push REGISTRY/NAME:TAG'"
)
_CONTENT = "images come from registries alone: docker pull"
ROUTES = (
    Route("GET", "/images/json", "those that `allowed_images` allows", _list, _LIST),
    Route(
        "POST",
        "/images/create",
        "fetches one that `allowed_images` allows, by the pool's pull policy",
        _pull,
        _PULL,
        names=_named_in_pull,
    ),
    _look("json", Answer.IMAGE),
    _look("history", Answer.HISTORY),
    Route(
        "POST",
        "/images/prune",
        "answered as one that removes nothing",
        _prune,
        (anything("filters"),),
    ),
    Route(
        "POST",
        "/auth",
        "asks a registry whose images are allowed",
        _login,
        expects=Expects.JSON,
        keys=CREDENTIALS,
    ),
    refused("DELETE", "/images/{image}", _KEPT),
    refused("POST", "/images/{image}/tag", _KEPT),
    refused(
        "POST",
        "/images/{image}/push",
        "the Engine pushes nothing for a job: push from the container that built it (crane, skopeo)",
    ),
    refused("POST", "/images/load", _CONTENT),
    refused("GET", "/images/get", _CONTENT),
    refused("GET", "/images/{image}/get", _CONTENT),
    refused("GET", "/images/search", "search on the registry's own page"),
    refused("GET", "/images/{image}/attestations", _CONTENT),
    *(
        _of_builds(path)
        for path in ("/build", "/build/prune", "/build/cancel", "/session", "/grpc")
    ),
    refused(
        "GET",
        "/distribution/{image}/json",
        "ask the registry from the job: crane digest, skopeo inspect",
    ),
)
