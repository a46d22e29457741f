"""Building those images again whose client the service will refuse soon: what the timer does each day.

It runs as root, so it builds only what stands in this installation's own record of what it built. What an
image says of itself is shown, bounded and clean, and never done. One image's trouble is its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mayfly.cli.client_choice import deadline, offered
from mayfly.cli.examination import handed_over
from mayfly.cli.host_hardware import hardware_for
from mayfly.cli.image_building import build_image
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble
from mayfly.core.client_release import ClientLag, lag, number_of
from mayfly.core.desire import ImageSeen, images_of
from mayfly.core.image_build import build_of
from mayfly.core.image_line import build_line
from mayfly.core.model import LABEL_BUILD, LABEL_CLIENT, Config, ImageClient, PoolName
from mayfly.core.plain_text import clean
from mayfly.edge import build_records, client_records
from mayfly.edge.catalogue import architecture
from mayfly.edge.faults import Fault
from mayfly.engines import load as load_engine
from mayfly.engines.protocol import Engine
from mayfly.providers.installed import package

WITHIN = 10.0  # days before a client is refused at which its image is built again
TOLD = 2000  # characters of why one was not


@dataclass(frozen=True, slots=True)
class ClientImage:
    """An image that the configuration names and that has a service's client in it."""

    name: str
    pools: tuple[PoolName, ...]  # that use it, all of one provider
    provider: str
    client: ImageClient
    seen: ImageSeen  # what its labels say may stand in a sentence
    # what its label says that it was built as; None: nothing that is understood
    stands_on: str | None = None

    @property
    def version(self) -> str:
        """The client's, as the image's label says it."""
        return self.seen.client or ""

    @property
    def line(self) -> str:
        """The command that builds it, as far as its name tells."""
        own = re.fullmatch(
            rf"mayfly/{re.escape(self.provider)}:(cpu|cuda([0-9]+\.[0-9]+))", self.name
        )
        if own is not None:
            return f"`{build_line(self.provider, own[2] or own[1], embedded=False)}`"
        cuda = self.seen.cuda if re.fullmatch(r"[0-9]+\.[0-9]+", self.seen.cuda or "") else None
        words = build_line(self.provider, cuda or "cpu", embedded=False)
        return f"`{words} --tag {self.name}`" if "@" not in self.name else f"`{words}`"

    @property
    def unknown(self) -> str:
        """Why it is not built where nobody here built it."""
        if self.stands_on not in (None, self.name):
            return (
                f"its label says that it is built FROM {self.stands_on}: build that one again, then this "
                "one as you did"
            )
        return (
            "this installation has no record of building it, and what an image says of itself is not "
            f"followed: {self.line} builds it once, with the --base, --uid and --build-arg that it had"
        )

    def strange(self, other: str | None) -> str | None:
        """Why it is none of its pools' provider, where it was made for that other one; ``None``: it is."""
        if other in (None, self.provider):
            return None
        pools = ", ".join(self.pools)
        return (
            f"it is for provider {other}, and pool {pools} is of {self.provider}: name another `image` "
            f"there, or build it: {self.line}"
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
    failed = _ask(config, clock)
    found = _found(config, failed)
    if not found and not failed:
        say("no pool's image has a service's client in it: nothing to do")
    _ask_deadlines(config, found, failed)
    for image in found:
        with _alone(failed, image.name):
            _refresh(image, config, clock(), within, newest=newest, dry_run=dry_run)
    for name, why in failed.items():
        say(f"{name}: {why}")
    if failed:
        raise Trouble(f"not refreshed: {', '.join(failed)}")


@contextmanager
def _alone(failed: dict[str, str], name: str) -> Iterator[None]:
    """Note in ``failed`` what goes wrong inside, whatever it is: the others are still to be built."""
    try:
        yield
    except (Fault, Trouble) as why:
        failed[name] = clean(str(why))[:TOLD]
    except Exception as error:  # noqa: BLE001  a bug on one's account must not leave the others unbuilt
        what = f"{type(error).__name__}: {error}"
        failed[name] = f"a bug in Mayfly, please report it: {clean(what)}"[:TOLD]


def _refresh(
    image: ClientImage, config: Config, now: float, within: float, *, newest: bool, dry_run: bool
) -> None:
    """Build it if it is due; a ``Fault`` or a ``Trouble`` says why it was not."""
    if (why := image.strange(image.seen.provider)) is not None:
        raise Trouble(why)
    if number_of(image.version) is None:
        raise Trouble(f"its label {LABEL_CLIENT} says no version of a client: {image.line}")
    records = client_records.read(Path(config.host.state_dir))
    behind = lag(records, image.pools, image.version, image.client.good_for)
    if behind is None:
        print(f"{image.name}: {image.client.name} is {image.version}, the newest that is known")
        return
    print(f"{image.name}: {behind.told(image.client.name, now)}")
    if newest or behind.due(now, within):
        _build(image, behind, config, dry_run=dry_run)


def _ask(config: Config, clock: Callable[[], float]) -> dict[str, str]:
    """Ask the service of each pool what it hands out, which is remembered; why not, where it does not say."""
    failed: dict[str, str] = {}
    with handed_over():
        for pool in config.pools:
            found = package(pool.provider)
            if found is None or found.client is None:
                continue
            with _alone(failed, f"pool {pool.name}"):
                offered(pool, config, architecture(), clock=clock)
    return failed


def _ask_deadlines(config: Config, found: Iterable[ClientImage], failed: dict[str, str]) -> None:
    """Ask until when the clients in the images are good, where a service may say it."""
    versions = {pool: image.version for image in found for pool in image.pools}
    with handed_over():
        for pool in config.pools:
            if number_of(versions.get(pool.name, "")) is None:
                continue
            # What a service does not say here is counted in days.
            with _alone(failed, f"pool {pool.name}"), suppress(Fault, Trouble):
                deadline(pool, config, versions[pool.name])


def _found(config: Config, failed: dict[str, str]) -> list[ClientImage]:
    """The images on the Engine that have a client in them, by name; ``failed`` has those not to be seen."""
    providers = {pool.name: pool.provider for pool in config.pools}
    used: dict[tuple[str, str], list[PoolName]] = {}
    for pool, name in images_of(config, hardware_for(config)).items():
        used.setdefault((name, providers[pool]), []).append(pool)
    engine = load_engine(config.host)
    found: list[ClientImage] = []
    for (name, provider), pools in sorted(used.items()):
        with _alone(failed, name):
            image = _client_image(engine, name, provider, tuple(pools))
            found += [image] if image is not None else []
    return found


def _client_image(
    engine: Engine, name: str, provider: str, pools: tuple[PoolName, ...]
) -> ClientImage | None:
    """The image of that name; ``None``: it is not there, or has no client in it."""
    described = package(provider)
    client = described.client if described is not None else None
    there = engine.image(name) if client is not None else None
    if client is None or there is None:
        return None
    seen = ImageSeen.labelled(there.id, there.labels)
    if seen.client is None:
        return None
    said = build_of(there.labels.get(LABEL_BUILD))
    return ClientImage(name, pools, provider, client, seen, said.tag if said is not None else None)


def _build(image: ClientImage, behind: ClientLag, config: Config, *, dry_run: bool) -> None:
    """Build it as it was built here, or say so; a ``Fault`` or a ``Trouble`` says why not."""
    plan = build_records.read(Path(config.host.state_dir)).get(image.seen.id)
    if plan is None:
        raise Trouble(image.unknown)
    if plan.tag != image.name:
        raise Trouble(f"it was built as {plan.tag}, and has this name since: {image.line}")
    if (why := image.strange(plan.provider)) is not None:
        raise Trouble(why)
    if dry_run:
        print(f"{image.name}: would be built with {behind.newest}")
        return
    build_image(plan, config, config.host.docker_host, tag=image.name)
    print(f"{image.name}: built")
