"""Names of images: what one is, which of them an agent may use, and which registries the Engine is sent to.

The Engine fetches an image from where it stands itself, which is nearer to the host than any job is, and a
name may lead to any address. So it is sent to registries that a pattern of the pool names, and to such public
ones as everybody knows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from mayfly.core.admission.grant import Grant

LATEST = "latest"
ANY = "*"
HUB = "docker.io"
MAYFLYS = "mayfly/*"  # what `mayfly images build` makes, whichever pool is to have it
# Of these a pattern need not name the registry: nobody but their keepers says where their names lead.
PUBLIC = frozenset(
    {
        *(HUB, "ghcr.io", "quay.io", "registry.gitlab.com", "mcr.microsoft.com", "public.ecr.aws"),
        *("gcr.io", "nvcr.io", "registry.k8s.io", "docker.elastic.co"),
    }
)
_HUBS = (HUB, "index.docker.io", "registry-1.docker.io")
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_PATH = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH}(?:/{_PATH})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?",
    re.ASCII,
)
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}", re.ASCII)
_LONGEST = 400


def is_reference(name: str) -> bool:
    """Whether the Engine could have an image of that name or id."""
    return len(name) <= _LONGEST and bool(_REFERENCE.fullmatch(name) or _ID.fullmatch(name))


def is_id(name: str) -> bool:
    """Whether it may be an image's id, or 12 characters and more of it."""
    return _ID.fullmatch(name) is not None


def parts(name: str) -> tuple[str, str, str, str] | None:
    """Registry, path, tag and digest, each empty where it is not said; ``None``: it is no name.

    The registry of one that names none is Docker's, ``docker.io``, whose own images are below ``library/``.
    """
    read = _REFERENCE.fullmatch(name) if len(name) <= _LONGEST else None
    if read is None or name.startswith("sha256:"):
        return None
    domain, path = read["domain"] or "", read["path"]
    if domain and not (
        set(domain) & set(".:[") or domain == "localhost" or domain.lower() != domain
    ):
        domain, path = "", f"{domain}/{path}"
    if not domain or domain in _HUBS:
        domain, path = HUB, path if "/" in path else f"library/{path}"
    return domain, path, read["tag"] or "", read["digest"] or ""


def familiar(name: str) -> str | None:
    """The name as people write it, with the tag ``latest`` where it has neither tag nor digest."""
    read = parts(name)
    if read is None:
        return None
    domain, path, tag, digest = read
    plain = path.removeprefix("library/") if domain == HUB else f"{domain}/{path}"
    if not tag and not digest:
        tag = LATEST
    return plain + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def allowed(name: str, grant: Grant) -> bool:
    """Whether a pattern of the grant allows it; one without a tag is one with ``:latest``."""
    plain, read = familiar(name), parts(name)
    if plain is None or read is None:
        return False
    return any(
        _matches(one, plain) and (read[0] in PUBLIC or _names(one, read[0]))
        for one in grant.allowed_images
    )


def registry_named(text: str) -> str | None:
    """The registry as the names of its images have it, in small letters; ``None``: it is none."""
    if not re.fullmatch(_DOMAIN, text, re.ASCII) or text.lower() != text:
        return None
    if text in _HUBS:
        return HUB
    return text if set(text) & set(".:[") or text == "localhost" else None


def is_known_registry(name: str, grant: Grant) -> bool:
    """Whether the Engine may be sent to the registry of that name, whatever image it is."""
    read = parts(name)
    return read is None or registry_allowed(read[0], grant)


def registry_allowed(registry: str, grant: Grant) -> bool:
    """Whether the Engine may be sent there with a client's credentials."""
    return is_within(registry, grant.allowed_images)


def is_within(registry: str, patterns: Collection[str]) -> bool:
    """Whether one of the patterns allows an image of that registry."""
    if not re.fullmatch(_DOMAIN, registry, re.ASCII):
        return False
    domain = HUB if registry in _HUBS else registry
    own = any(_names(one, domain) for one in patterns)
    return own or (domain in PUBLIC and any(one.startswith(ANY) for one in patterns))


def names_of(document: Mapping[str, Any], grant: Grant) -> tuple[str, ...]:
    """The tags and digests of an image, of a list or of an inspection, that the agent may see."""
    told = [*(document.get("RepoTags") or ()), *(document.get("RepoDigests") or ())]
    return tuple(name for name in told if allowed(str(name), grant))


def is_named(name: str, document: Mapping[str, Any]) -> bool:
    """Whether the image bears that name, and was not found by the beginning of its id."""
    read = parts(name)
    if read is None:
        return False
    if read[3]:
        return is_of_registry(name, document)
    plain = familiar(name)
    return any(familiar(str(one)) == plain for one in document.get("RepoTags") or ())


def is_of_registry(name: str, document: Mapping[str, Any]) -> bool:
    """Whether the Engine says that the image has come from, or gone to, the registry of that name."""
    read = parts(name)
    told = (parts(str(one)) for one in document.get("RepoDigests") or ())
    return read is not None and any(one is not None and one[:2] == read[:2] for one in told)


def is_of_agents(name: str, grant: Grant) -> bool:
    """Whether agents of this host are made of images of that name: whoever moves it changes them."""
    plain = familiar(name)
    return plain is not None and any(
        _matches(familiar(one) or one, plain) for one in (MAYFLYS, *grant.agents)
    )


def was_pulled(document: Mapping[str, Any], pulled: Collection[str]) -> bool:
    """Whether one of the image's names is among those, which are as `familiar` has them.

    Whoever has fetched it by one name may call it by another, or by its id.
    """
    told = (*(document.get("RepoTags") or ()), *(document.get("RepoDigests") or ()))
    return any(familiar(str(name)) in pulled for name in told)


def _matches(pattern: str, plain: str) -> bool:
    """``*`` stands for any characters, also for slashes."""
    told = pattern
    for hub in (f"{HUB}/library/", f"{HUB}/"):
        told = told.removeprefix(hub)
    last = told.rpartition("/")[2]
    if not any(sign in last for sign in (":", "@", ANY)):
        told += f":{LATEST}"
    return re.fullmatch(".*".join(re.escape(one) for one in told.split(ANY)), plain) is not None


def _registry(pattern: str) -> str:
    """The registry that the pattern names; empty: it names none, or only some of it."""
    first, slash, _ = pattern.partition("/")
    if not slash or ANY in first:
        return "" if ANY in first else HUB
    named = bool(set(first) & set(".:[")) or first == "localhost"
    return (HUB if first in _HUBS else first) if named else HUB


def _names(pattern: str, domain: str) -> bool:
    """Whether the pattern names that registry: whole, or as one below a domain (``*.lab.example``)."""
    first = pattern.partition("/")[0]
    below = first.removeprefix(f"{ANY}.")
    if first == below or ANY in below or "." not in below or "/" not in pattern:
        return _registry(pattern) == domain
    return domain.endswith(f".{below}") and not _is_near(domain)


def _is_near(domain: str) -> bool:
    """Whether it is, or may be, an address of the host or beside it: a number, or a name without a dot."""
    host = domain if domain.startswith("[") else domain.partition(":")[0]
    return (
        host.startswith("[")
        or "." not in host.strip(".")
        or re.fullmatch(r"[0-9xXa-fA-F.]+", host) is not None
        or host.lower().rstrip(".").endswith((".localhost", ".local", ".internal"))
    )
