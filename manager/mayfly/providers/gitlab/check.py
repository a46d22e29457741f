"""What the doctor is told of a pool at GitLab."""

from __future__ import annotations

from collections.abc import Iterator

from mayfly.core.model import Severity, SlotName
from mayfly.edge.web import clean
from mayfly.providers import Finding
from mayfly.providers.gitlab.access import Access
from mayfly.providers.gitlab.slot_runners import ROTATE_EARLY, SlotRunners
from mayfly.providers.gitlab.store import StoredRunner


def findings(access: Access, runners: SlotRunners, now: float) -> Iterator[Finding]:
    """Whether the token is taken, and nobody else uses a runner of ours."""
    secret = access.secret()
    if access.shared:
        expires = access.service.verify(secret, None)
        if expires is not None and expires - now < ROTATE_EARLY:
            days = max(0.0, (expires - now) / 86400)
            yield Finding(
                Severity.WARNING,
                f"the runner's token of {access.whose} expires in {days:.0f} days",
                "# drain the pool, reset the token at GitLab, put the new one where `token` points",
            )
        return
    if access.service.runners(access.place, runners.mark) is None:
        yield Finding(
            Severity.INFO,
            f"the token of {access.whose} may not list runners: one that a lost reply leaves behind stays",
            "# at GitLab: give the token the scope read_api too",
        )
    for slot, kept in runners.store.all().items():
        if kept.id is not None:
            yield from _of_runner(access, runners, slot, kept, kept.id)


def _of_runner(
    access: Access, runners: SlotRunners, slot: SlotName, kept: StoredRunner, number: int
) -> Iterator[Finding]:
    runner = access.service.runner(number)
    if runner is not None and runner.get("paused") is True and not kept.paused:
        yield Finding(
            Severity.WARNING,
            f"runner {number} of slot {slot} is paused at GitLab, and not by Mayfly: it gets no job",
            "# resume it on GitLab's page of runners",
        )
    ids = {str(manager.get("system_id")) for manager in access.service.managers(number)}
    others = sorted(ids - {runners.system_id(slot)})
    if others:
        yield Finding(
            Severity.WARNING,
            f"runner {number} of slot {slot} is used from elsewhere too ({clean(', '.join(others))}): "
            "somebody has its token",
            f"mayfly drain {slot} --wait   # then delete the runner at GitLab, and: mayfly uncordon {slot}",
        )
