"""Conditions of images: that the service will soon refuse the client in one, with the days counted down.

Pure. The timer of ``images refresh`` builds such an image again before; so whoever sees this for long has no
timer, or one whose builds fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mayfly.core.client_release import lag
from mayfly.core.desire import Survey
from mayfly.core.model import Condition, ImageClient, PoolName, Severity, SlotSpec, Traits

TOLD = 10.0  # days before that it is told
PRESSING = 3.0  # days before that it is an error


def image_conditions(
    slots: Iterable[SlotSpec], survey: Survey, traits: Mapping[PoolName, Traits], now: float
) -> list[Condition]:
    """A condition for each image of the pools whose client is refused soon."""
    used: dict[tuple[str, ImageClient], dict[PoolName, None]] = {}
    for spec in slots:
        trait = traits.get(spec.pool.name)
        if trait is not None and trait.client is not None and spec.asked_image is None:
            used.setdefault((spec.reference, trait.client), {})[spec.pool.name] = None
    found = []
    for (reference, client), pools in used.items():
        seen = survey.images.get(reference)
        if seen is None or seen.client is None:
            continue
        behind = lag(survey.clients, pools, seen.client, client.good_for)
        if behind is None or not behind.due(now, TOLD):
            continue
        pressing = bool(client.good_for) and behind.due(now, PRESSING)
        found.append(
            Condition(
                "image.client_old",
                Severity.ERROR if pressing else Severity.WARNING,
                f"image {reference}: {behind.told(client.name, now)}",
                "sudo mayfly images refresh",
                next(iter(pools)) if len(pools) == 1 else None,
            )
        )
    return found
