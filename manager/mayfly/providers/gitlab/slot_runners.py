"""The runners that belong to slots: made, remembered, rotated and taken back; whether one runs a job.

A runner's token is given once, so what is being made is on disk before it is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from mayfly.core.model import HostId, HostSpec, PoolSpec, SlotName
from mayfly.core.quantities import moment
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.service_json import integer
from mayfly.providers.gitlab.access import Access
from mayfly.providers.gitlab.store import RunnerStore, StoredRunner

LEAST_TIMEOUT = 600  # seconds; GitLab takes no smaller maximum_timeout
# seconds for gitlab-runner to end a job whose time is over: ten minutes, and its report
CAP = 660.0
ROTATE_EARLY = 7 * 86400.0  # a token that expires within this is made anew before its next use
CLOCKS = 5.0  # seconds that two clocks may differ where one's times are compared with the other's


class SlotRunners:
    """One runner a slot, kept from agent to agent."""

    def __init__(
        self,
        access: Access,
        store: RunnerStore,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        clock: Callable[[], float],
    ) -> None:
        self._access, self.store, self._pool = access, store, pool
        self._host, self._host_id, self._clock = host.name, host_id, clock
        self.mark = f"mayfly-{host_id}-{pool.name}"
        self._heard: dict[int, float] = {}  # runners that spoke since that enrolment

    def system_id(self, slot: SlotName) -> str:
        """The slot's manager id at GitLab, the same for ever (``s_`` and twelve characters)."""
        digest = hashlib.sha256(f"{self._host_id}/{slot}".encode()).hexdigest()
        return f"s_{digest[:12]}"

    def tags(self, labels: tuple[str, ...]) -> list[str]:
        """What jobs may ask for, and what tells that a runner is ours."""
        pool = self._pool
        tags = [*pool.labels, *labels]
        if pool.gpus:
            tags.append("gpu")
        if pool.cuda is not None:
            tags.append(f"cuda-{pool.cuda}")
        return list(dict.fromkeys([*tags, str(pool.name), self.mark]))

    def _wanted(self, slot: SlotName, name: str, labels: tuple[str, ...]) -> dict[str, object]:
        """What the slot's runner is to be at GitLab."""
        wanted: dict[str, object] = {
            "description": name,
            "tag_list": self.tags(labels),
            "run_untagged": False,
            "maintenance_note": f"Kept by Mayfly on {self._host} for slot {slot}",
        }
        limit = self._pool.limits.job_timeout
        if limit is not None:
            # GitLab ends a job first; Mayfly ends what did not end by that.
            wanted["maximum_timeout"] = max(LEAST_TIMEOUT, int(limit - CAP))
        return wanted

    def runner_of(self, slot: SlotName, name: str, labels: tuple[str, ...]) -> StoredRunner:
        """The slot's runner, ready for one more agent: the one that is remembered, else a new one."""
        now = self._clock()
        wanted = self._wanted(slot, name, labels)
        kept = self.store.get(slot)
        if kept is not None and (kept.base, kept.place) != (
            self._access.service.base,
            str(self._access.place),
        ):
            self._abandon(kept)
            kept = None
        elif kept is not None and kept.id is None:
            self._take_back(name)
            kept = None
        if kept is not None and kept.id is not None:
            kept = self._ready(kept, kept.id, slot, wanted)
        earlier: tuple[int, ...] = ()
        if kept is None:
            kept = self._made(slot, wanted)
        elif kept.id is not None:
            # What the slot's last agent died of may still run for GitLab, for an hour, under the same runner.
            running = self._access.service.running(kept.id, self.system_id(slot))
            earlier = tuple(integer(job.get("id")) for job in running)
        kept = replace(kept, since=now, earlier=earlier, setup=_digest(wanted), paused=False)
        self.store.put(slot, kept)
        return kept

    def _ready(
        self, kept: StoredRunner, number: int, slot: SlotName, wanted: Mapping[str, object]
    ) -> StoredRunner | None:
        """The remembered runner as it is to be, with a token that is good; ``None`` where it is gone.

        The slot is empty now, so nobody works with a token that is rotated here. A runner that a person has
        paused stays paused.
        """
        good = self._access.service.takes(kept.token, self.system_id(slot)).status == 200
        expiring = kept.expires is not None and kept.expires - self._clock() < ROTATE_EARLY
        if not good or kept.paused or kept.setup != _digest(wanted):
            body = {**wanted, "paused": False} if kept.paused else wanted
            if not self._access.service.change(number, body):
                return None
        if good and not expiring:
            return kept
        issued = self._access.service.rotate(number)
        if issued is None:
            return None
        return replace(kept, token=issued.token, expires=issued.expires)

    def _made(self, slot: SlotName, wanted: Mapping[str, object]) -> StoredRunner:
        """A new runner; that it is being made is on disk before it is asked for."""
        pool = self._pool
        kept = StoredRunner(
            pool=pool.name,
            base=self._access.service.base,
            place=str(self._access.place),
            ca=pool.ca,
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
        )
        self.store.put(slot, kept)
        try:
            issued = self._access.service.make(self._access.place, wanted)
        except Refused:
            self.store.drop(slot)
            raise
        return replace(kept, id=issued.id, token=issued.token, expires=issued.expires)

    def _take_back(self, name: str) -> None:
        """Delete what a lost reply may have left behind: its token, given once, is lost with it."""
        remembered = {kept.id for kept in self.store.all().values()}
        for runner in self._access.service.runners(self._access.place, self.mark) or ():
            number = integer(runner.get("id"))
            if runner.get("description") == name and number not in remembered:
                self._access.service.delete(number)

    def _abandon(self, kept: StoredRunner) -> None:
        """The pool has moved: its runner at the old place deletes itself, if there is anybody to ask."""
        if kept.id is not None:
            with suppress(Fault):
                self._access.at(kept.base).delete_by_token(kept.token)

    def is_busy(self, number: int, slot: SlotName, kept: StoredRunner) -> bool:
        """Whether GitLab says that the slot's agent runs a job; what an earlier agent left does not count."""
        for job in self._access.service.running(number, self.system_id(slot)):
            if integer(job.get("id")) in kept.earlier:
                continue
            started = moment(job.get("started_at"))
            if started is None or started >= self._since(kept):
                return True
        return False

    def has_spoken(self, number: int, slot: SlotName, kept: StoredRunner) -> bool:
        """Whether the slot's manager has been heard of since its agent was enrolled."""
        if self._heard.get(number) == kept.since:
            return True
        for manager in self._access.service.managers(number):
            contact = moment(manager.get("contacted_at"))
            own = manager.get("system_id") == self.system_id(slot)
            if own and contact is not None and contact >= self._since(kept):
                self._heard[number] = kept.since
                return True
        return False

    def _since(self, kept: StoredRunner) -> float:
        """When the slot's agent was enrolled, by GitLab's clock at the earliest."""
        return kept.since + (self._access.service.web.skew or 0.0) - CLOCKS


def _digest(wanted: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
