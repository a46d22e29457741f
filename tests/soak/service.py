"""What the soak asks of a service's fake and its pool."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tests.engine.private_engine import PrivateEngine
from tests.fakes.http import Fake
from tests.harness import Manager

# Seconds after which a trouble of the service is over. Those that hit nobody would pile up else: a manager
# that finds its service sick asks it twice a minute, and troubles come every second.
LASTS = 1.5


@dataclass(frozen=True)
class Account:
    """What came of one job."""

    number: int
    begun: int  # how often a runner has begun it
    ended: int  # how often it was reported done
    lost: bool  # its agent was killed, and the service has said so
    done: bool  # nothing more will happen to it


class Service(Protocol):
    """A fake, an Engine and a configured manager, as one."""

    engine: PrivateEngine
    manager: Manager

    @property
    def fake(self) -> Fake:
        """What plays the service."""

    def configure(self, slots: int = 2, keys: str = "") -> None:
        """Write the configuration of one pool."""

    def submit(self, script: str) -> None:
        """Queue a job."""

    def accounts(self) -> list[Account]:
        """All jobs that were queued."""

    def registrations(self) -> list[str]:
        """What the service still has of ours."""

    def calls(self) -> Mapping[str, int]:
        """The manager's calls, by what they were for."""

    def trouble(self, chance: random.Random) -> str:
        """Have one thing go wrong at the service, soon; what it is."""
