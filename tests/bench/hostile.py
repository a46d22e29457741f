"""Another pool's jobs and answers beside one hostile agent of each kind; quiet and attacked windows in turns.

What an attack ends (its memory, its room in the witness) is begun again, as somebody would who means harm.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mayfly.cli.doctor import LITTLE_WEIGHT
from mayfly.cli.exposure import CONTAINERS_WEIGHT, EXPEDITED
from mayfly.edge.history_reader import HistoryReader
from tests.bench.control import Control
from tests.bench.figures import Figure, Goal, median, p95
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until

TURNS = 3
# Seconds of attack before anything is measured: by then who works for long yields, and who begins some
# hundred processes or connections a second more than it may is throttled.
LEAD = 30.0
WINDOW = 20.0
REST = 0.1  # seconds between two jobs
GOAL = Goal(1.5, of_ratio=True)
KINDS: Mapping[str, str] = {
    "sudo": "exec sudo sh -c 'while :; do chown 0:0 /tmp/x; : >/tmp/x; chmod 4755 /tmp/x; done' 2>/dev/null",
    "forks": "while :; do (while :; do true & done) 2>/dev/null; wait; done",
    "memory": "while :; do head -c 400000000 /dev/zero | tail; done",
    "output": "exec yes",
    "witness": "cd /run/mayfly/w; while :; do for f in ready opened exit signs; do sudo sh -c"
    ' "rm -rf $f; echo 0 0 >$f; rm $f; mkfifo $f; rm $f; mkdir $f"; done; done 2>/dev/null',
    "network": "while read -r _ to hex _; do [ $to = 00000000 ] && break; done </proc/net/route;"
    " gateway=$((16#${hex:6:2})).$((16#${hex:4:2})).$((16#${hex:2:2})).$((16#${hex:0:2}));"
    " while :; do for p in $(seq 1 2000); do echo x >/dev/udp/$gateway/$p; : >/dev/tcp/$gateway/$p; done;"
    " done 2>/dev/null",
    "cache": "cd /cache; while :; do mkdir d; for i in $(seq 1 500); do echo $i >d/$i; done; rm -rf d; done",
}
ROOT = frozenset({"sudo", "witness"})
POOL = '[[pool]]\nname = "{name}"\nprovider = "local"\nslots = 1\n'
LIMITS = '[pool.limits]\nmemory = "256MiB"\n'
CACHE = '[[pool.caches]]\nsource = "{home}/cache"\ntarget = "/cache"\n'


@dataclass
class Seen:
    """Of all windows of one kind, in seconds."""

    jobs: list[float] = field(default_factory=list)
    submits: list[float] = field(default_factory=list)
    statuses: list[float] = field(default_factory=list)


def measure(engine: PrivateEngine, turns: int = TURNS) -> list[Figure]:
    """All kinds at once: as the host is, and with the settings that the doctor proposes, where it can."""
    with _manager(engine) as manager:
        figures = _figures("all kinds", "hostile", *_windows(manager, tuple(KINDS), turns), turns)
        with _set() as made:
            if made:
                seen = _windows(manager, tuple(KINDS), turns)
                figures += _figures("all kinds (host set)", "hostile_set", *seen, turns)
        return figures


def measure_each(engine: PrivateEngine, turns: int = TURNS) -> list[Figure]:
    """Each kind by itself."""
    figures: list[Figure] = []
    with _manager(engine) as manager:
        for kind in KINDS:
            seen = _windows(manager, (kind,), turns)
            figures += _figures(kind, f"hostile_{kind}", *seen, turns)
    return figures


@contextmanager
def _set() -> Iterator[bool]:
    """Both settings, and what was there before afterwards; whether they could be made."""
    before: dict[Path, str] = {}
    try:
        for path, value in ((EXPEDITED, 1), (CONTAINERS_WEIGHT, LITTLE_WEIGHT)):
            kept = path.read_text()
            path.write_text(str(value))
            before[path] = kept
    except OSError as error:
        print(f"  the host cannot be set as the doctor proposes: {error}", file=sys.stderr)
    try:
        yield len(before) == 2
    finally:
        for path, kept in before.items():
            path.write_text(kept)


@contextmanager
def _manager(engine: PrivateEngine) -> Iterator[Manager]:
    with Manager(engine.url) as manager:
        (manager.home / "cache").mkdir()
        (manager.home / "cache").chmod(0o777)
        text = POOL.format(name="good")
        for kind in KINDS:
            text += POOL.format(name=kind) + ("sudo = true\n" if kind in ROOT else "") + LIMITS
            text += CACHE.format(home=manager.home) if kind == "cache" else ""
        manager.configure(text)
        manager.start()
        yield manager


def _windows(manager: Manager, kinds: tuple[str, ...], turns: int) -> tuple[Seen, Seen]:
    """Quiet and attacked."""
    quiet, attacked = Seen(), Seen()
    _idle(manager)
    for _ in range(turns):
        _window(manager, quiet, Attacks(manager, ()))
        attacks = Attacks(manager, kinds)
        attacks.keep_up(LEAD)
        _window(manager, attacked, attacks)
        attacks.end()
        _idle(manager)
    return quiet, attacked


class Attacks:
    """One job of each kind that is always at work."""

    def __init__(self, manager: Manager, kinds: tuple[str, ...]) -> None:
        self._socket = manager.home / "s"
        self._reader = HistoryReader(manager.state)
        self._jobs: dict[str, str] = {}
        self._kinds = kinds

    def keep_up(self, seconds: float = 0.0) -> None:
        """Begin what is not there (any more), for so long."""
        end = time.monotonic() + seconds
        while True:
            for kind in self._kinds:
                job = self._jobs.get(kind)
                if job is None or (self._reader.job(job) or {})["finished"] is not None:
                    self._jobs[kind] = _submit(
                        Control(self._socket), kind, "bash", "-c", KINDS[kind]
                    )
            if time.monotonic() >= end:
                return
            time.sleep(REST)

    def end(self) -> None:
        """End all of them; one may end by itself meanwhile."""
        for job in self._jobs.values():
            with suppress(AssertionError):
                Control(self._socket).ask("POST", f"/v1/jobs/{job}/cancel", {})


def _window(manager: Manager, seen: Seen, attacks: Attacks) -> None:
    """Jobs of the other pool one after the other, and what is asked meanwhile."""
    control, reader = Control(manager.home / "s"), HistoryReader(manager.state)
    end = time.monotonic() + WINDOW
    while time.monotonic() < end:
        attacks.keep_up()
        began = time.monotonic()
        job = _submit(control, "good", "true")
        seen.submits.append(time.monotonic() - began)
        row = until(lambda job=job: _ended(reader, job), "its job ends", 120)  # type: ignore[misc]
        seen.jobs.append(row["finished"] - row["submitted"])
        control.close()  # one that rests for long is shut at the other end
        control.connect()
        began = time.monotonic()
        control.ask("GET", "/v1/status")
        seen.statuses.append(time.monotonic() - began)
        time.sleep(REST)


def _submit(control: Control, pool: str, *command: str) -> str:
    document: dict[str, object] = {"argv": list(command), "env": {}, "pool": pool}
    return str(control.ask("POST", "/v1/jobs", document)["job"])


def _ended(reader: HistoryReader, job: str) -> dict[str, float] | None:
    row = reader.job(job)
    return row if row is not None and row["finished"] is not None else None


def _idle(manager: Manager) -> None:
    def idle() -> bool:
        rows = manager.get("/v1/status")["slots"]
        return all(row["phase"] == "idle" and row["standby"] is None for row in rows)

    until(idle, "every slot is idle", 180)


def _figures(kind: str, name: str, quiet: Seen, attacked: Seen, turns: int) -> list[Figure]:
    return [
        Figure(
            name=f"{name}_{what}",
            what=f"{kind} at once: {told}" if kind.startswith("all") else f"{kind}: {told}",
            value=median(values) * 1000,
            unit="ms",
            goal=GOAL,
            beside="quiet",
            beside_value=median(before) * 1000,
            p95=p95(values) * 1000,
            n=len(values),
            more={"turns": turns, "beside_p95": p95(before) * 1000},
        )
        for what, told, values, before in (
            ("job", "another pool's job", attacked.jobs, quiet.jobs),
            ("submit", "a submission", attacked.submits, quiet.submits),
            ("status", "the status", attacked.statuses, quiet.statuses),
        )
    ]
