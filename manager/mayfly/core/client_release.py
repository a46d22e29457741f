"""Versions of a service's client in images: what is offered, checked by what, and for how long it is good.

Pure. A checksum that was told once for a version is held to ever after: whoever changes the archive later
would have to change what was told before, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

DAY = 86400.0
MOST_OFFERED = 200  # versions that are remembered of a pool
_VERSION = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){1,3})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"https?://[!-~]+")


@dataclass(frozen=True, slots=True)
class ClientRelease:
    """One version of a client for one architecture, as it may be put into an image."""

    version: str
    sha256: str
    # where the archive is; None: its maker's own place, which the Dockerfile knows
    url: str | None
    # who told the checksum, as in "the service at api.example.org"
    told_by: str


@dataclass(frozen=True, slots=True)
class Offered:
    """A version that a service handed out as its newest; the times are those at which it was asked."""

    version: str
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Pin:
    """A checksum that was told."""

    sha256: str
    told_by: str
    at: float


@dataclass(frozen=True, slots=True)
class ClientRecords:
    """What is remembered of clients."""

    offers: Mapping[str, tuple[Offered, ...]] = field(default_factory=dict)  # by pool
    pins: Mapping[str, Pin] = field(default_factory=dict)  # by ``pin_name``
    # by pool and version, when its service said that it refuses it
    refusals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def noted(self, pool: str, version: str, now: float) -> ClientRecords:
        """With that version as what the pool's service hands out now."""
        found = {one.version: one for one in self.offers.get(pool, ())}
        known = found.get(version, Offered(version, now, now))
        found[version] = replace(known, last=max(known.last, now))
        last = sorted(found.values(), key=lambda one: one.last)[-MOST_OFFERED:]
        return replace(self, offers={**self.offers, pool: tuple(last)})

    def pinned(
        self, provider: str, architecture: str, release: ClientRelease, now: float
    ) -> ClientRecords:
        """With that release's checksum; ``ValueError`` says why not, where another was told before."""
        name = pin_name(provider, release.version, architecture)
        known = self.pins.get(name)
        if known is None:
            pin = Pin(release.sha256, release.told_by, now)
            return replace(self, pins={**self.pins, name: pin})
        if known.sha256 != release.sha256:
            raise ValueError(
                f"{release.told_by} tells another checksum of the client {release.version} for "
                f"{architecture} ({release.sha256[:12]}…) than {known.told_by} did before "
                f"({known.sha256[:12]}…)"
            )
        return self

    def refused(self, pool: str, version: str, at: float | None) -> ClientRecords:
        """With what the pool's service said of when it refuses that version; ``None``: it named no time."""
        said = {name: when for name, when in self.refusals.get(pool, {}).items() if name != version}
        if at is not None:
            said[version] = at
        return replace(self, refusals={**self.refusals, pool: said})

    def offered(self, pool: str) -> str | None:
        """What the pool's service handed out when it was last asked; ``None``: it never was."""
        found = self.offers.get(pool, ())
        return max(found, key=lambda one: one.last).version if found else None

    def superseded(self, pool: str, version: str) -> float | None:
        """When the service had a newer one at the earliest; ``None`` where it has none, as far as is known.

        That is the last time at which the version itself, or a newer one than that which is now old too, was
        the newest: its successor came out after that and nobody knows when.
        """
        found = self.offers.get(pool, ())
        newest = self.offered(pool)
        if newest is None or not is_older(version, newest):
            return None
        held = [one.last for one in found if one.version == version]
        newer = [one.first for one in found if is_older(version, one.version)]
        return max(held) if held else min(newer)


def pin_name(provider: str, version: str, architecture: str) -> str:
    """What a pin is kept under."""
    return f"{provider} {version} {architecture}"


def refused_at(superseded: float | None, good_for: float | None) -> float | None:
    """When a version is refused that a newer one superseded; ``None``: never, as far as is known.

    ``good_for`` is in days, as ``ImageClient`` has it.
    """
    return None if superseded is None or good_for is None else superseded + good_for * DAY


def number_of(version: str) -> tuple[int, ...] | None:
    """The numbers of ``v2.336.0``; ``None`` where it is no version."""
    match = _VERSION.match(version)
    return tuple(int(part) for part in match.group(1).split(".")) if match is not None else None


def is_older(version: str, other: str) -> bool:
    """Whether the first is older; what is no version is neither older nor newer."""
    one, two = number_of(version), number_of(other)
    return one is not None and two is not None and one < two


def newest(versions: Iterable[str]) -> str | None:
    """The newest of them; ``None`` where none is a version."""
    known = [
        (number, version) for version in versions if (number := number_of(version)) is not None
    ]
    return max(known)[1] if known else None


def is_version(text: str) -> bool:
    """Whether it is a version as a build takes it, such as 2.336.0."""
    return re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9}){1,3}", text) is not None


def is_sha256(text: str) -> bool:
    """Whether it is such a checksum, in lower case."""
    return _SHA256.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether an archive may be fetched from it: one word that no shell and no option takes for another."""
    return _URL.fullmatch(text) is not None and "'" not in text and '"' not in text


@dataclass(frozen=True, slots=True)
class ClientLag:
    """That the client in an image is not the newest."""

    version: str
    newest: str
    # when the service refuses it; None: it says no such time
    refused: float | None

    def due(self, now: float, within: float) -> bool:
        """Whether it is refused in so many days, or is already."""
        return self.refused is not None and self.refused - now <= within * DAY

    def told(self, client: str, now: float) -> str:
        """In a sentence, of a client with that name."""
        words = f"{client} is {self.version}, and {self.newest} is out"
        if self.refused is None:
            return words
        days = (self.refused - now) / DAY
        if days >= 1:
            return f"{words}: the older one is refused in {days:.0f} days"
        return f"{words}: the older one may be refused already"


def lag(
    records: ClientRecords, pools: Iterable[str], version: str, good_for: float | None
) -> ClientLag | None:
    """How far a version is behind what the services of these pools hand out; ``None``: it is the newest.

    Of several pools that use it, the one whose service refuses it first.
    """
    behind: list[ClientLag] = []
    for pool in pools:
        offered = records.offered(pool)
        since = records.superseded(pool, version)
        if offered is not None and since is not None:
            said = records.refusals.get(pool, {}).get(version)
            refused = said if said is not None else refused_at(since, good_for)
            behind.append(ClientLag(version, offered, refused))
    return min(
        behind,
        key=lambda one: one.refused if one.refused is not None else float("inf"),
        default=None,
    )
