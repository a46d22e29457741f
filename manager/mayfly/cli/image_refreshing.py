"""Building those images again whose client the service will refuse soon: what the timer does each day."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mayfly.cli.client_choice import deadline, offered
from mayfly.cli.examination import handed_over
from mayfly.cli.host_hardware import hardware_for
from mayfly.cli.image_building import build_image
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble
from mayfly.core.client_release import ClientLag, lag
from mayfly.core.desire import images_of
from mayfly.core.image_build import ImageBuild, build_of
from mayfly.core.model import (
    LABEL_BUILD,
    LABEL_CLIENT,
    LABEL_PROVIDER,
    Config,
    ImageClient,
    PoolName,
)
from mayfly.edge import client_records
from mayfly.edge.catalogue import architecture
from mayfly.edge.faults import Fault
from mayfly.engines import load as load_engine
from mayfly.providers.installed import package

WITHIN = 10.0  # days before a client is refused at which its image is built again


@dataclass(frozen=True, slots=True)
class ClientImage:
    """An image that the configuration names and that has a service's client in it."""

    name: str
    pools: tuple[PoolName, ...]  # that use it, all of one provider
    provider: str
    client: ImageClient
    version: str
    # how it was built; None: it does not say
    build: ImageBuild | None
    # whose launcher is in it, as its label says; None: it does not say
    launcher: str | None = None

    @property
    def strange(self) -> str | None:
        """Why it is none of its pools' provider; ``None``: it is, as far as it says."""
        built = self.build.provider if self.build is not None else None
        other = next(
            (one for one in (self.launcher, built) if one not in (None, self.provider)), None
        )
        if other is None:
            return None
        pools = ", ".join(self.pools)
        return (
            f"its label says that it is for provider {other}, and pool {pools} is of {self.provider}: name "
            f"another `image` there, or build it: `mayfly images build --provider {self.provider}`"
        )


def refresh(
    config: Config,
    *,
    within: float = WITHIN,
    newest: bool = False,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
) -> None:
    """Ask each service, and build what is due; a ``Trouble`` at the end names what could not be done."""
    state = Path(config.host.state_dir)
    failed = _ask(config, clock)
    found = list(client_images(config))
    if not found:
        say("no pool's image has a service's client in it: nothing to do")
    _ask_deadlines(config, found)
    for image in found:
        if (why := image.strange) is not None:
            failed[image.name] = why
            continue
        behind = lag(client_records.read(state), image.pools, image.version, image.client.good_for)
        if behind is None:
            print(f"{image.name}: {image.client.name} is {image.version}, the newest that is known")
            continue
        print(f"{image.name}: {behind.told(image.client.name, clock())}")
        if not newest and not behind.due(clock(), within):
            continue
        why = _rebuilt(image, behind, config, dry_run=dry_run)
        if why is not None:
            failed[image.name] = why
    for name, why in failed.items():
        say(f"{name}: {why}")
    if failed:
        raise Trouble(f"not refreshed: {', '.join(failed)}")


def _ask(config: Config, clock: Callable[[], float]) -> dict[str, str]:
    """Ask the service of each pool what it hands out, which is remembered; why not, where it does not say."""
    failed: dict[str, str] = {}
    with handed_over():
        for pool in config.pools:
            found = package(pool.provider)
            if found is None or found.client is None:
                continue
            try:
                offered(pool, config, architecture(), clock=clock)
            except (Fault, Trouble) as why:
                failed[f"pool {pool.name}"] = str(why)
    return failed


def _ask_deadlines(config: Config, found: Iterable[ClientImage]) -> None:
    """Ask until when the clients in the images are good, where a service may say it."""
    versions = {pool: image.version for image in found for pool in image.pools}
    with handed_over():
        for pool in config.pools:
            if pool.name in versions:
                with suppress(Fault, Trouble):
                    deadline(pool, config, versions[pool.name])


def client_images(config: Config) -> Iterator[ClientImage]:
    """The images on the Engine that have a client in them, by name."""
    providers = {pool.name: pool.provider for pool in config.pools}
    used: dict[tuple[str, str], list[PoolName]] = {}
    for pool, name in images_of(config, hardware_for(config)).items():
        used.setdefault((name, providers[pool]), []).append(pool)
    engine = load_engine(config.host)
    for (name, provider), pools in sorted(used.items()):
        described = package(provider)
        client = described.client if described is not None else None
        seen = engine.image(name) if client is not None else None
        version = seen.labels.get(LABEL_CLIENT) if seen is not None else None
        if client is not None and seen is not None and version:
            build = build_of(seen.labels.get(LABEL_BUILD))
            launcher = seen.labels.get(LABEL_PROVIDER)
            yield ClientImage(name, tuple(pools), provider, client, version, build, launcher)


def _rebuilt(image: ClientImage, behind: ClientLag, config: Config, *, dry_run: bool) -> str | None:
    """Why it was not built; ``None`` where it was, or would be."""
    if image.build is None:
        return "it does not say how it was built: build it once more with `mayfly images build`"
    if image.build.tag != image.name:
        return f"it is built FROM {image.build.tag}: build that one again, then this one as you did"
    if dry_run:
        print(f"{image.name}: would be built with {behind.newest}")
        return None
    try:
        build_image(image.build, config, config.host.docker_host, tag=image.name)
    except (Trouble, Fault) as why:
        return str(why)
    print(f"{image.name}: built")
    return None
