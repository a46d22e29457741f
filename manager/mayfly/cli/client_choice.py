"""Which version of a service's client is built into an image, by which checksum: asked, and held to.

The pool's service is asked first, then the client's maker. What was told once for a version is kept in the
state directory; where somebody tells another checksum later, nothing is built.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mayfly.cli.examination import handed_over
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core import naming
from mayfly.core.client_release import (
    ClientRecords,
    ClientRelease,
    is_sha256,
    is_version,
    pin_name,
)
from mayfly.core.model import LABEL_CHECKSUM, Config, HostSpec, ImageClient, PoolSpec
from mayfly.edge import catalogue, client_records
from mayfly.edge.faults import Fault
from mayfly.providers import ClientRefusing, ClientSource
from mayfly.providers.installed import load, package

PARTS = ("VERSION", "SHA256", "SHA256_ARM64", "URL")


@dataclass(frozen=True, slots=True)
class ClientChoice:
    """What a build needs to put the client in."""

    arguments: Mapping[str, str]  # of the build
    labels: Mapping[str, str]
    # None: a person gave version and checksum, or there is no client
    release: ClientRelease | None = None


def own_arguments(client: ImageClient | None) -> frozenset[str]:
    """The build arguments that are of one version of the client."""
    if client is None:
        return frozenset()
    return frozenset(f"{client.argument}_{part}" for part in PARTS)


def chosen(
    provider: str,
    given: Mapping[str, str],
    config: Config | None,
    architecture: str,
    clock: Callable[[], float] = time.time,
) -> ClientChoice:
    """What goes into an image of that provider; ``given`` are the build arguments that a person gave."""
    found = package(provider)
    client = found.client if found is not None else None
    if client is None:
        return ClientChoice({}, {})
    version, checksum = (given.get(name) or None for name in client.arguments)
    _check(client, version, checksum)
    if version is not None and checksum is not None:
        return ClientChoice({}, {LABEL_CHECKSUM: checksum})
    release = _asked(provider, client, architecture, version, config, clock)
    if not (is_version(release.version) and is_sha256(release.sha256)):
        raise Trouble(f"{release.told_by} names no version of {client.name} that could be built in")
    _hold(provider, architecture, release, config, clock())
    say(
        f"{client.name} {release.version}, checksum {release.sha256[:12]}… as told by {release.told_by}"
    )
    arguments = dict(zip(client.arguments, (release.version, release.sha256), strict=True))
    if release.url is not None:
        arguments[f"{client.argument}_URL"] = release.url
    return ClientChoice(arguments, {LABEL_CHECKSUM: release.sha256}, release)


def _check(client: ImageClient, version: str | None, checksum: str | None) -> None:
    named, summed = client.arguments
    if version is not None and not is_version(version):
        raise Usage(f"--build-arg {named}: {version!r} is no version such as 2.336.0")
    if checksum is not None and not is_sha256(checksum.lower()):
        raise Usage(f"--build-arg {summed}: a SHA-256 has 64 hexadecimal digits")
    if checksum is not None and version is None:
        raise Usage(f"--build-arg {summed} is of one version: give {named} too, or neither of them")


def _asked(
    provider: str,
    client: ImageClient,
    architecture: str,
    version: str | None,
    config: Config | None,
    clock: Callable[[], float],
) -> ClientRelease:
    """What the first pool's service says that can say it, else what the catalogue or the maker says."""
    pools = [pool for pool in config.pools if pool.provider == provider] if config else []
    fault: Fault | None = None
    if config is not None and pools:
        with handed_over():
            for pool in pools:
                try:
                    return offered(pool, config, architecture, version, clock)
                except Fault as why:
                    fault = fault or why
    known = catalogue.client(provider)
    wanted = version or known.version
    if wanted is not None and wanted == known.version and architecture in known.sha256:
        return ClientRelease(wanted, known.sha256[architecture], None, "Mayfly's catalogue")
    found = package(provider)
    named = " ".join(f"--build-arg {name}=…" for name in client.arguments)
    if fault is None and found is not None and found.published is not None:
        try:
            return found.published(architecture, version)
        except Fault as why:
            fault = why
    if fault is not None:
        raise Trouble(f"which {client.name} to build in is not known: {fault}; or say {named}")
    raise Usage(
        f"which {client.name} to build in is not known: no pool of provider {provider} is configured whose "
        f"service could be asked. First `mayfly init`, or say {named} ({client.place})"
    )


def offered(
    pool: PoolSpec,
    config: Config,
    architecture: str,
    version: str | None = None,
    clock: Callable[[], float] = time.time,
) -> ClientRelease:
    """What the pool's service says; a ``Fault`` where it does not. That it is the newest is remembered."""
    state = Path(config.host.state_dir)
    provider = load(pool, config.host, naming.host_id(0), state)
    if not isinstance(provider, ClientSource):
        raise Trouble(f"provider {pool.provider} does not say which client it wants")
    release = provider.client_release(architecture, version)
    if version is None:
        _remember(state, lambda known: known.noted(pool.name, release.version, clock()))
    return release


def deadline(pool: PoolSpec, config: Config, version: str) -> None:
    """Remember what the pool's service says of when it refuses that version, where it may say so at all."""
    state = Path(config.host.state_dir)
    provider = load(pool, config.host, naming.host_id(0), state)
    if isinstance(provider, ClientRefusing):
        at = provider.client_refused(version)
        _remember(state, lambda known: known.refused(pool.name, version, at))


def _hold(
    provider: str, architecture: str, release: ClientRelease, config: Config | None, now: float
) -> None:
    """See that nobody told another checksum before, and remember this one."""
    known = catalogue.client(provider)
    expected = known.sha256.get(architecture) if known.version == release.version else None
    if expected is not None and expected != release.sha256:
        raise Trouble(
            f"{release.told_by} tells another checksum of {release.version} for {architecture} than Mayfly's "
            "catalogue has: nothing is built; somebody may have changed the archive"
        )
    state = Path((config.host if config is not None else HostSpec("host")).state_dir)
    try:
        _remember(state, lambda kept: kept.pinned(provider, architecture, release, now))
    except ValueError as error:
        name = pin_name(provider, release.version, architecture)
        raise Trouble(
            f"{error}: nothing is built, somebody may have changed the archive. If you know that it is "
            f'right, remove "{name}" from {state / client_records.NAME}'
        ) from error


def _remember(state: Path, how: Callable[[ClientRecords], ClientRecords]) -> None:
    """Keep it where that may be done: who may build without being root may not write there."""
    try:
        client_records.change(state, how)
    except Fault as fault:
        how(ClientRecords())
        say(f"not remembered: {fault}")
