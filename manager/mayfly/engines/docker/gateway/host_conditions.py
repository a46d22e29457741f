"""What is the matter with this host by the gateway's own look: kept until it is seen to be mended, or is old.

The manager asks for them with the gateway's health, and shows them beside its own. Nothing in them is a
job's text, and nothing a secret's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mayfly.core.model import Severity

MOST = 16
RECENT = 600.0  # seconds that what only a job's request shows is told after it was seen last


@dataclass(frozen=True, slots=True)
class _Told:
    severity: Severity
    text: str
    fix: str
    pool: str | None
    until: float | None  # None: as long as nobody says that it is mended


class HostConditions:
    """Those of one gateway, by code and by what they are about."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str], _Told] = {}

    def tell(
        self,
        code: str,
        about: str,
        text: str,
        fix: str,
        *,
        pool: str | None = None,
        lasts: float | None = RECENT,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """It is so now; ``lasts``: seconds for which it is told, ``None``: until it is mended."""
        if (code, about) in self._told or len(self._told) < MOST:
            until = None if lasts is None else self._clock() + lasts
            self._told[code, about] = _Told(severity, text, fix, pool, until)

    def mended(self, code: str, about: str) -> None:
        """It is not so any more."""
        self._told.pop((code, about), None)

    def only(self, code: str, about: Collection[str]) -> None:
        """Of that code these alone may still be so: the others nobody asks for any more."""
        self._told = {
            key: told for key, told in self._told.items() if key[0] != code or key[1] in about
        }

    def document(self) -> list[dict[str, str | None]]:
        """As the manager reads them."""
        now = self._clock()
        self._told = {
            key: told for key, told in self._told.items() if told.until is None or told.until > now
        }
        return [
            {
                "code": code,
                "severity": told.severity.value,
                "text": told.text,
                "fix": told.fix,
                "pool": told.pool,
            }
            for (code, _), told in sorted(self._told.items())
        ]
