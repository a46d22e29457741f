"""The soak itself: queue, disturb, and then account for everything."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.harness import until
from tests.hurried import hurried
from tests.soak.service import Account, Service

AHEAD = 6  # jobs queued beyond those that run
# Troubles come ten times as often here as from the worst of services, so what rests between tries is a tenth.
BRISK = hurried("core.contact.LIST_REST=3.5", "core.contact.CALL_REST=3.0", "core.contact.BLIP=0.5")
SCRIPTS = ("true", "sleep 0.2", "sleep 0.7; echo done", "exit 3")


@dataclass
class Report:
    """What a soak came to."""

    jobs: int = 0
    lost: int = 0
    agents: int = 0
    seconds: float = 0.0
    budget: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    disturbances: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)  # what must not be; empty where all is well

    def text(self) -> str:
        """For people."""
        hours = self.seconds / 3600
        total = sum(self.calls.values())
        disturbed = ", ".join(f"{n} x {what}" for what, n in sorted(self.disturbances.items()))
        told = (
            f"{self.jobs} jobs in {self.seconds:.0f} s by {self.agents} agents, each begun once; {self.lost} "
            "of them lost with a container that was killed under them, and told so by the service"
        )
        rate = f"{total} calls, {total / max(1, self.jobs):.1f} a job, {total / hours:.0f} an hour"
        lines = [
            told,
            f"disturbed by {disturbed}",
            f"{rate} of a budget of {self.budget}:",
            *(f"  {count:5d}  {kind}" for kind, count in self.calls.items()),
        ]
        return "\n".join([*lines, *(f"WRONG: {fault}" for fault in self.faults)])


def soak(
    service: Service,
    jobs: int,
    *,
    slots: int = 4,
    seed: int = 1,
    restarts: int = 2,
    budget: int = 60_000,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Run so many jobs, disturb them, and drain the pool; the report says what was left over."""
    chance = random.Random(seed)
    report = Report(budget=budget)
    service.configure(slots, f"calls_per_hour = {budget}")
    service.manager.start(*BRISK, wait=None)
    began = time.monotonic()
    restart_at = {jobs * (n + 1) // (restarts + 1) for n in range(restarts)}
    queued, told, next_blow = 0, 0, time.monotonic() + 2
    patience = time.monotonic() + 120 + jobs * 6
    while True:
        accounts = service.accounts()
        open_ones = [account for account in accounts if not account.done]
        ended = len(accounts) - len(open_ones)
        while queued < jobs and len(open_ones) + queued - len(accounts) < slots + AHEAD:
            service.submit(chance.choice(SCRIPTS))
            queued += 1
            if queued in restart_at:
                report.disturbances["manager killed and started"] += 1
                service.manager.kill(signal.SIGKILL)
                service.manager.start(*BRISK, wait=None)
        if queued == jobs and not open_ones:
            break
        if ended >= told + 20:
            told = ended
            tell(f"{ended} of {jobs} jobs after {time.monotonic() - began:.0f} s")
        if time.monotonic() > next_blow:
            next_blow = time.monotonic() + chance.uniform(0.3, 1.2)
            report.disturbances[_blow(service, chance, slots)] += 1
        if time.monotonic() > patience:
            report.faults.append(f"{len(open_ones)} jobs are not done: {open_ones[:3]}")
            break
        time.sleep(0.1)  # the pace of looking, not a wait for something
    report.seconds = time.monotonic() - began
    service.fake.heal()
    getattr(service, "settle", lambda: None)()
    _drain(service, report)
    _account(service.accounts(), report)
    report.faults += getattr(service, "disagreements", list)()
    report.calls = dict(service.calls())
    finish = getattr(service, "finish", None)  # where a service's entries stay for its slots
    if finish is not None:
        report.faults += [f"at the end: {fault}" for fault in finish()]
    return report


def _blow(service: Service, chance: random.Random, slots: int) -> str:
    """One disturbance; its name.

    Each container is in the same danger however few there are: the last of a pool whose slots cool would be
    killed every three seconds else, and their pauses would grow without end, as they should.
    """
    if chance.random() < 0.25:
        names = service.engine.docker("ps", "--format", "{{.Names}}", check=False).split()
        place = chance.randrange(2 * slots)  # a slot has an agent and a standby
        if place < len(names):
            service.engine.docker("kill", sorted(names)[place], check=False)
            return "container killed"
    return service.trouble(chance)


def _drain(service: Service, report: Report) -> None:
    """Nothing may be left, on either side."""
    manager = service.manager
    done = manager.cli("drain", "--all", "--wait", "--timeout", "120", timeout=150)
    if done.returncode != 0:
        report.faults.append(f"drain ended with {done.returncode}: {done.stderr.strip()}")
    for what, look in (
        ("containers", manager.containers),
        ("registrations", service.registrations),
        ("witnesses", lambda: [path.name for path in (manager.state / "agents").iterdir()]),
    ):
        try:
            until(lambda look=look: not look(), what, 200)  # type: ignore[misc]
        except AssertionError:
            report.faults.append(f"{what} left over: {look()[:5]}")
    report.agents = len(_history(service))


def _history(service: Service) -> list[object]:
    done = service.manager.cli("history", "--limit", "100000", "--json")
    if done.returncode != 0:
        return []
    rows = [value for value in json.loads(done.stdout).values() if isinstance(value, list)]
    return rows[0] if rows else []


def _account(accounts: list[Account], report: Report) -> None:
    report.jobs = len(accounts)
    report.lost = sum(account.lost for account in accounts)
    for account in accounts:
        if account.begun > 1 or account.ended > 1:
            report.faults.append(f"job {account.number} ran {account.begun} times: {account}")
        if account.done and not account.lost and (account.begun, account.ended) != (1, 1):
            report.faults.append(f"job {account.number} is done and was not run once: {account}")
