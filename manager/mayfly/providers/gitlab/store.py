"""The runners that Mayfly has made at GitLab, as it remembers them: one a slot, with its token, in the vault.

A token is given once, when its runner is made; without what stands here a slot's runner could never be used
again. What is needed to delete it stands here too, for a pool that the configuration has no more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mayfly.core import quantities
from mayfly.core.model import PoolName, PoolSpec, SlotName
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Refused
from mayfly.edge.vault import Vault
from mayfly.providers.gitlab.settings import GitLabSettings


def vault(state_dir: Path) -> Vault:
    """Where they are kept."""
    return Vault(state_dir / "gitlab")


NOTHING = Secret("")


@dataclass(frozen=True, slots=True)
class StoredRunner:
    """One slot's runner."""

    pool: PoolName
    base: str  # the instance's address
    place: str  # as `scope` has it
    id: int | None = None  # None: it is being made, and nobody knows whether it was
    token: Secret = NOTHING
    expires: float | None = None  # None: never
    since: float = 0.0  # when its last agent was enrolled
    earlier: tuple[int, ...] = ()  # jobs that GitLab counted on it then: none of that agent's
    paused: bool = False  # Mayfly has paused it
    setup: str = ""  # tells whether it is still set up as the configuration wants it
    ca: str | None = None
    proxy: str | None = None
    no_proxy: str | None = None

    @classmethod
    def of(cls, value: Mapping[str, object]) -> StoredRunner:
        """From what is in the vault."""

        def word(key: str) -> str | None:
            found = value.get(key)
            return found if isinstance(found, str) else None

        def number(key: str) -> float | None:
            return quantities.number(value.get(key))

        identity, earlier = value.get("id"), value.get("earlier")
        return cls(
            pool=PoolName(word("pool") or ""),
            base=word("base") or "",
            place=word("place") or "",
            id=identity if isinstance(identity, int) else None,
            token=Secret(word("token") or ""),
            expires=number("expires"),
            since=number("since") or 0.0,
            earlier=tuple(
                job
                for job in (earlier if isinstance(earlier, list) else ())
                if isinstance(job, int)
            ),
            paused=value.get("paused") is True,
            setup=word("setup") or "",
            ca=word("ca"),
            proxy=word("proxy"),
            no_proxy=word("no_proxy"),
        )

    @property
    def value(self) -> dict[str, object]:
        """What goes into the vault."""
        return {
            "pool": self.pool,
            "base": self.base,
            "place": self.place,
            "id": self.id,
            "token": self.token.reveal(),
            "expires": self.expires,
            "since": self.since,
            "earlier": list(self.earlier),
            "paused": self.paused,
            "setup": self.setup,
            "ca": self.ca,
            "proxy": self.proxy,
            "no_proxy": self.no_proxy,
        }


class RunnerStore:
    """The runners of one pool."""

    def __init__(self, vault: Vault, pool: PoolName) -> None:
        self._vault = vault
        self._pattern = re.compile(rf"{re.escape(pool)}-[0-9]+")

    def get(self, slot: SlotName) -> StoredRunner | None:
        """The slot's runner; ``None`` where none is remembered."""
        value = self._vault.get(slot)
        return StoredRunner.of(value) if value is not None else None

    def put(self, slot: SlotName, kept: StoredRunner) -> None:
        """Remember the slot's runner."""
        self._vault.put(slot, kept.value)

    def drop(self, slot: SlotName) -> None:
        """Forget the slot's runner."""
        self._vault.drop(slot)

    def all(self) -> dict[SlotName, StoredRunner]:
        """Every slot of the pool that a runner is remembered for, also those that it has no more."""
        names = (SlotName(name) for name in self._vault.names() if self._pattern.fullmatch(name))
        return {slot: kept for slot in names if (kept := self.get(slot)) is not None}

    def slot_of(self, registration: str) -> SlotName | None:
        """The slot whose runner has that id; ``None`` where it is none that is remembered."""
        for slot, kept in self.all().items():
            if str(kept.id) == registration:
                return slot
        return None


def left_behind(state_dir: Path) -> tuple[PoolSpec, ...]:
    """The pools that runners are remembered for, as far as what is remembered tells.

    Without ``token``: their runners can be deleted, by their own tokens, and nothing else.
    """
    found: dict[PoolName, PoolSpec] = {}
    place = vault(state_dir)
    for name in place.names():
        try:
            kept = StoredRunner.of(place.get(name) or {})
        except Refused:
            continue  # of a slot that is configured, its pool says so
        if kept.pool and kept.base:
            found[kept.pool] = PoolSpec(
                name=kept.pool,
                provider="gitlab",
                embedded=False,
                settings=GitLabSettings(url=kept.base, scope=kept.place, left=True),
                slots=0,
                ca=kept.ca,
                proxy=kept.proxy,
                no_proxy=kept.no_proxy,
            )
    return tuple(found.values())
