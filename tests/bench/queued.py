"""A long queue: what one more job, a list and a word about one of them take while 10,000 wait."""

from __future__ import annotations

import time

from tests.bench.control import Control
from tests.bench.figures import Figure, Goal, median, p95
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager

LONG = 9_900  # jobs of one person; with those that are measured as many as one may have
GROUP = 250
TIMES = 40
POOL = '[[pool]]\nname = "local"\nprovider = "local"\nslots = 1\n'


def measure(engine: PrivateEngine) -> list[Figure]:
    """Each beside the same with nothing queued; asked at the control socket of a manager that runs."""
    with Manager(engine.url, POOL) as manager:
        manager.start()
        manager.cli("cordon", "--all")
        control = Control(manager.socket)
        short = _asked(control)
        for number in range(LONG // GROUP):
            matrix = {"N": [str(value) for value in range(GROUP)]}
            control.ask(
                "POST", "/v1/jobs", {"argv": ["true"], "name": f"n{number}", "matrix": matrix}
            )
        long = _asked(control)
    return [
        Figure(
            name=f"queued_{name}",
            what=f"{what}, 10,000 queued",
            value=median(long[name]) * 1000,
            unit="ms",
            goal=goal,
            beside="the same, none queued",
            beside_value=median(short[name]) * 1000,
            p95=p95(long[name]) * 1000,
            n=TIMES,
        )
        for name, (what, goal) in WHAT.items()
    ]


WHAT: dict[str, tuple[str, Goal | None]] = {
    "submit": ("submit, at the socket", Goal(20)),
    "jobs_page": ("jobs, 200 rows", None),
    "jobs_all": ("jobs, all rows", None),
    "why": ("jobs --why", None),
    "cancel": ("cancel, at the socket", None),
}


def _asked(control: Control) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in WHAT}
    for _ in range(TIMES):
        job: dict[str, object] = {"argv": ["true"]}
        began = time.perf_counter()
        submitted = control.ask("POST", "/v1/jobs", job)["job"]
        taken["submit"].append(time.perf_counter() - began)
        for name, target in (
            ("jobs_page", "/v1/jobs?most=200"),
            ("jobs_all", "/v1/jobs"),
            ("why", f"/v1/jobs/{submitted}"),
        ):
            began = time.perf_counter()
            control.ask("GET", target)
            taken[name].append(time.perf_counter() - began)
        began = time.perf_counter()
        control.ask("POST", f"/v1/jobs/{submitted}/cancel", {})
        taken["cancel"].append(time.perf_counter() - began)
    return taken
