"""Which device each place has, where every place may have some of them: whoever has one never goes without.

A place that comes later may make one that is there already move to another device, never leave it without
(augmenting paths of a bipartite matching). The result depends on the order of what is asked alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Matching(Generic[P]):
    """Places, each with the devices that it may have, the preferred first, and the one that it has."""

    def __init__(self) -> None:
        self._wants: dict[P, Sequence[str]] = {}
        self._has: dict[P, str] = {}
        self._whose: dict[str, P] = {}
        self._closed: set[str] = set()  # what no place may be given any more

    def copy(self) -> Matching[P]:
        """Another one that is the same now."""
        other: Matching[P] = Matching()
        other._wants, other._has = dict(self._wants), dict(self._has)
        other._whose, other._closed = dict(self._whose), set(self._closed)
        return other

    def whose(self, device: str) -> P | None:
        """The place that has it now; ``None``: none has."""
        return self._whose.get(device)

    def add(self, place: P, wants: Sequence[str]) -> bool:
        """Give the place one of these; ``False``, and nothing is changed, where that cannot be."""
        self._wants[place] = wants
        if self._seat(place, set()):
            return True
        del self._wants[place]
        return False

    def drop(self, place: P) -> None:
        """The place wants none any more."""
        del self._wants[place]
        del self._whose[self._has.pop(place)]

    def close(self, device: str) -> bool:
        """No place may have this one; ``False``, and nothing is changed, where one would go without."""
        if device in self._closed:
            return True
        self._closed.add(device)
        place = self._whose.pop(device, None)
        if place is None or self._seat(place, set()):
            return True
        self._closed.discard(device)
        self._whose[device] = place
        return False

    def settle(self, place: P) -> str:
        """The first of the wanted devices that leaves one for every other place; for good."""
        for device in self._wants[place]:
            if device not in self._closed and self._takes(place, device):
                return device
        raise AssertionError("a place that has a device can keep it")

    def _takes(self, place: P, device: str) -> bool:
        holder, had = self._whose.get(device), self._has[place]
        if holder == place:
            self._closed.add(device)
            return True
        del self._whose[had]
        self._whose[device], self._has[place] = place, device
        self._closed.add(device)
        if holder is None or self._seat(holder, set()):
            return True
        self._closed.discard(device)
        self._whose[had], self._has[place] = place, had
        self._whose[device] = holder
        return False

    def _seat(self, place: P, tried: set[str]) -> bool:
        """Find the place a device, and whoever has that another; nothing is changed where it fails."""
        wanted = [one for one in self._wants[place] if one not in self._closed | tried]
        free = next((one for one in wanted if one not in self._whose), None)
        if free is not None:
            self._whose[free], self._has[place] = place, free
            return True
        for device in wanted:
            if device in tried:
                continue
            tried.add(device)
            if self._seat(self._whose[device], tried):
                self._whose[device], self._has[place] = place, device
                return True
        return False
