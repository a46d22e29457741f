"""A soak: jobs through a pool while its manager, its Engine and its containers fail at random.

Then the accounts. Everything random comes from one seed. They compare three books that know nothing of each
other: what was asked of the manager, what the manager says became of it, and what the jobs themselves noted
in a directory of the host.
"""

from __future__ import annotations

import http.client
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mayfly.core.container_labels import HOLDER
from mayfly.core.model import LABEL_SANDBOX
from tests.chaos.crashing import NO_PIDFDS, POINTS
from tests.chaos.page_watch import PageWatch, free_port
from tests.engine.private_engine import PrivateEngine
from tests.harness import ENDED, Manager, disk, full, until

CRASHING = Path(__file__).with_name("crashing.py")
ROOT = CRASHING.parents[2]
SECRET = "soaked-5e1f0c"
POOL = """
[[pool]]
name = "{pool}"
provider = "local"
slots = {slots}
sandbox = "{sandbox}"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
"""
SANDBOXES = {"kept": "slot", "own": "job"}  # by pool: whose the network namespaces are
# Notes its beginning and its end; what comes between is the job's kind.
JOB = 'echo "$MAYFLY_JOB" >>/cache/ran; {middle}; echo "$MAYFLY_JOB" >>/cache/done; exit {code}'
KINDS = (
    ("brief", ":"),
    ("short", "sleep 0.5"),
    ("long", "sleep 2"),
    ("loud", "seq 5000"),
    ("daemon", "setsid sleep 1000 & :"),
    ("deaf", "trap '' TERM; sleep 1"),
    ("sends", "bash -c 'echo sent >/dev/udp/192.0.2.1/9'"),  # its network is not used again
    ("late", "sleep 1000"),  # ends by its limit of 2 s
)
HELD = 0.02  # of the jobs: their containers are started once more when they have ended
TROUBLES = (
    ("manager killed", 6),
    ("manager stopped", 2),
    ("manager kills itself", 4),
    ("manager held still", 3),
    ("agent killed", 6),
    ("agent told to end", 3),
    ("agent removed", 3),
    ("holder killed", 3),
    ("holder removed", 2),
    ("pidfds lost", 2),
    ("job cancelled", 3),
    ("engine restarted", 1),
    ("engine killed", 1),
    ("disk filled", 2),
)
ENGINE_TROUBLES = frozenset({"engine restarted", "engine killed"})
AGENTS, HOLDERS = "", HOLDER  # what a container's label says of whose it is
RESTS = "sleep infinity"  # a holder's only process; an agent's are below an init
PATIENCE = 20.0  # seconds that jobs may take to end before the next trouble comes
DISK = "512m"  # of the manager's state directory: a tmpfs of its own
BROKEN = (OSError, http.client.HTTPException, AssertionError)


@dataclass
class Asked:
    """What was asked for in one job."""

    kind: str
    code: int


@dataclass
class Accounts:
    """What the soak found; ``faults`` is empty where all is well."""

    figures: list[tuple[str, object]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    log: str = ""  # of all the managers


class Soak:
    """One run."""

    kinds: tuple[tuple[str, str], ...] = KINDS
    limit = 60  # seconds of a job that is to end by itself
    patience = 6.0  # seconds for each job, before it is said that they do not get through
    crash_points: tuple[str, ...] = tuple(POINTS)

    def __init__(
        self,
        jobs: int,
        seed: int,
        *,
        slots: int = 4,
        burst: int = 6,
        live_restore: bool = True,
        engine: bool = True,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """``engine``: whether the Engine fails, too; ``tell`` hears how far it is, now and then."""
        self.tell = tell
        self.wanted = jobs
        self.seed = seed
        self.slots = slots
        self.burst = burst
        self.live_restore = live_restore
        self.random = random.Random(seed)
        self.troubles = [
            (name, weight) for name, weight in TROUBLES if engine or name not in ENGINE_TROUBLES
        ]
        self.happened: Counter[str] = Counter()
        self.asked: dict[str, Asked] = {}
        self.cancelled: set[str] = set()
        self.lives = 0

    def run(self) -> Accounts:
        """Make an Engine and a manager, run the jobs through, and settle the accounts."""
        began = time.monotonic()
        with self._engine() as self.engine:  # noqa: SIM117
            with Manager(self.engine.url) as self.manager, disk(self.manager.state, DISK):
                (self.manager.home / "cache").mkdir()
                (self.manager.home / "cache").chmod(0o777)
                port = free_port()
                self.manager.configure(self._pools(), f'web = "127.0.0.1:{port}"')
                self._keep_alive()
                until(self.manager.answers, "the manager answers")
                at_work = time.monotonic()
                with closing(PageWatch(self.manager, port)) as watch:
                    self._work()
                    self._settle()
                seconds = time.monotonic() - at_work
                accounts = self._accounts()
                accounts.figures.append(("looks at the page beside the status", watch.compared))
                accounts.faults += [
                    f"the page and the status disagree {fault}" for fault in watch.faults
                ]
                self._leftovers(accounts)
                accounts.log = self.manager.log.read_text(errors="replace")
                self._end()
        accounts.figures += [
            ("seconds of jobs and troubles", round(seconds, 1)),
            ("jobs a minute", round(60 * self.wanted / seconds, 1)),
            ("seconds in all", round(time.monotonic() - began, 1)),
        ]
        left = [pid for pid in _processes() if _of(pid, self.engine.home)]
        if left:
            accounts.faults.append(f"processes are left: {left}")
        return accounts

    def _engine(self) -> PrivateEngine:
        return PrivateEngine(live_restore=self.live_restore)

    def _keep_alive(self) -> None:
        """What systemd does: whoever has ended is started again."""
        if not self._alive():
            self._start()

    def _end(self) -> None:
        """End what runs beside the manager."""

    def _pools(self) -> str:
        """A pool of each kind, with half of the slots."""
        narrow = self.slots // 2
        slots = {"kept": self.slots - narrow, "own": narrow}
        return "".join(
            POOL.format(home=self.manager.home, pool=name, slots=slots[name], sandbox=sandbox)
            for name, sandbox in SANDBOXES.items()
            if slots[name]
        )

    # -- jobs and troubles ---------------------------------------------------------------------

    def _work(self) -> None:
        began = time.monotonic()
        deadline = began + 120 + self.patience * self.wanted
        told = 0
        while True:
            assert time.monotonic() < deadline, "the jobs do not get through"
            self._keep_alive()
            with suppress(*BROKEN):
                self._submit_some()
            with suppress(*BROKEN):
                over = self._over()
                if over >= told + max(20, self.wanted // 20):
                    told = over
                    seconds = time.monotonic() - began
                    self.tell(f"{over} of {self.wanted} jobs after {seconds:.0f} s")
                if len(self.asked) >= self.wanted and over >= 0.9 * self.wanted:
                    return
            self._let_some_end(self.random.randint(0, self.burst))
            names, weights = zip(*self.troubles, strict=True)
            (name,) = self.random.choices(names, weights)
            with suppress(*BROKEN):
                if self._trouble(name):
                    self.happened[name] += 1

    def _let_some_end(self, jobs: int) -> None:
        """So many, or as many as do in a while: a manager that dies each second gets little done."""
        wanted = -1
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._alive():
            with suppress(*BROKEN):
                over = self._over()
                wanted = over + jobs if wanted < 0 else wanted
                if over >= min(wanted, len(self.asked)):
                    return
            time.sleep(self.random.uniform(0.2, 0.6))

    def _over(self) -> int:
        """Jobs of those that were asked for that have ended."""
        return len(self.asked) - len(self._waiting())

    def _submit_some(self) -> None:
        for _ in range(min(self.random.randint(1, self.burst), self.wanted - len(self.asked))):
            self._submit()

    def _submit(self) -> None:
        kind, middle = self.random.choice(self.kinds)
        code = self.random.choice((0, 0, 0, 1, 7, 42))
        held = {"hold": True, "hold_for": 2.0} if self.random.random() < HELD else {}
        job = self.manager.queue(
            "sh", "-c", JOB.format(middle=middle, code=code),
            env={"SECRET": SECRET}, timeout=2 if kind == "late" else self.limit, pool=self._pool(),
            **held,
        )  # fmt: skip
        self.asked[job] = Asked(kind, code)

    def _pool(self) -> str:
        return "own" if self.random.randrange(self.slots) < self.slots // 2 else "kept"

    def _trouble(self, name: str) -> bool:
        """Bring it about; whether there was anything to bring it about on."""
        pause = self.random.uniform(0.0, 1.0)
        match name:
            case "manager killed":
                self.manager.kill(signal.SIGKILL)
                time.sleep(pause)
            case "manager stopped":
                self.manager.kill(signal.SIGTERM)
                time.sleep(pause)
            case "manager kills itself" | "pidfds lost":
                self.manager.kill(signal.SIGKILL)
                self._start(
                    NO_PIDFDS if name == NO_PIDFDS else self.random.choice(self.crash_points)
                )
            case "manager held still":
                if not self._alive() or self.manager.process is None:
                    return False
                self.manager.process.send_signal(signal.SIGSTOP)
                time.sleep(0.5 + 2 * pause)
                self.manager.process.send_signal(signal.SIGCONT)
            case "agent killed" | "agent told to end" | "agent removed":
                return self._hit(name, AGENTS)
            case "holder killed" | "holder removed":
                return self._hit(name, HOLDERS)
            case "job cancelled":
                return self._cancel()
            case "engine restarted":
                self.engine.restart(signal.SIGTERM)
            case "engine killed":
                self.engine.restart(signal.SIGKILL)
            case "disk filled":
                with full(self.manager.state):
                    time.sleep(2 * pause)
        return True

    def _hit(self, name: str, kind: str) -> bool:
        listed = self._running(kind)
        if not listed:
            return False
        victim = self.random.choice(sorted(listed))
        words = {
            "killed": ("kill", victim),
            "told to end": ("kill", "-s", "TERM", victim),
            "removed": ("rm", "-f", victim),
        }
        self.engine.docker(*words[name.partition(" ")[2]], check=False)
        return True

    def _running(self, kind: str) -> list[str]:
        mine = f"label=io.mayfly.host={self.manager.host_id()}"
        filters = ("--filter", mine, "--filter", f"label={LABEL_SANDBOX}={kind}")
        return self.engine.docker("ps", "-q", *filters, check=False).split()

    def _cancel(self) -> bool:
        waiting = self._waiting()
        if not waiting:
            return False
        job = self.random.choice(waiting)
        self.cancelled.add(job)
        return self.manager.cli("cancel", job, timeout=30).returncode == 0

    def _waiting(self) -> list[str]:
        """The jobs that have not ended; all of them are told, whatever the limit on those that have."""
        rows: list[dict[str, Any]] = self.manager.get("/v1/jobs?limit=1")["jobs"]
        return [row["job"] for row in rows if row["state"] not in ENDED]

    def _rows(self) -> list[dict[str, Any]]:
        """All jobs: as many as one answer has of each pool."""
        return [
            row
            for pool in ("kept", "own")
            for row in self.manager.get(f"/v1/jobs?pool={pool}&limit=10000")["jobs"]
        ]

    def _alive(self) -> bool:
        return self.manager.process is not None and self.manager.process.poll() is None

    def _start(self, point: str | None = None) -> None:
        self.lives += 1
        if point is None:
            self.manager.start(wait=None)
            return
        script = (
            f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['', {point!r}]; "
            f"runpy.run_path({str(CRASHING)!r}, run_name='__main__')"
        )
        self.manager.start(sys.executable, "-c", script, wait=None)

    def _settle(self) -> None:
        """No more troubles: what is left is done in peace."""
        self.manager.kill(signal.SIGTERM)
        self._keep_alive()
        until(self.manager.answers, "the manager answers")
        until(
            lambda: not self._waiting(),
            "every job has ended",
            60 + self.patience * self.wanted / 3,
        )

    # -- accounts ------------------------------------------------------------------------------

    def _accounts(self) -> Accounts:
        rows = {row["job"]: row for row in self._rows()}
        told: Counter[str] = Counter()
        accounts = Accounts()
        ran, done = self._noted("ran"), self._noted("done")
        for job in self.asked.keys() - rows.keys():
            accounts.faults.append(f"job {job} was accepted and is gone")
        for job in (ran.keys() | done.keys()) - rows.keys():
            accounts.faults.append(f"job {job} ran and no account knows it")
        for job, row in rows.items():
            told[f"{row['state']} {row['cause'] or ''}".strip()] += 1
            accounts.faults += [
                f"job {job} ({row['state']} {row['cause']}, code {row['exit_code']}): {fault}"
                for fault in self._faults(row, ran[job], done[job])
            ]
        restarts = sum(self.happened[name] for name in ENGINE_TROUBLES)
        if told["lost unknown"] and not restarts:
            accounts.faults.append(f"{told['lost unknown']} jobs lost for an unknown cause")
        if told["lost engine_stopped"] and not restarts:
            accounts.faults.append("the Engine was left alone, and an account says that it stopped")
        with suppress(
            AssertionError
        ):  # what was asked for and what became of it is told all the same
            until(lambda: not self._secrets() or None, "no environment is on disk")
        accounts.faults += [
            f"a job's environment is on disk, in {name}" for name in self._secrets()
        ]
        accounts.figures += [
            ("seed", self.seed),
            ("slots", self.slots),
            ("jobs accepted", len(rows)),
        ]
        accounts.figures += [(f"  {what}", count) for what, count in sorted(told.items())]
        accounts.figures += [("lives of the manager", self.lives)]
        accounts.figures += [(f"  {what}", count) for what, count in sorted(self.happened.items())]
        accounts.figures += [
            ("jobs that ran twice", sum(count > 1 for count in ran.values())),
            ("jobs lost sight of", len(self.asked.keys() - rows.keys())),
        ]
        return accounts

    def _faults(self, row: dict[str, Any], ran: int, done: int) -> list[str]:
        """What does not fit between a job's account and its own notes."""
        faults = []
        state, cause, code = row["state"], row["cause"], row["exit_code"]
        asked = self.asked.get(row["job"])
        if ran > 1 or done > 1:
            faults.append(f"ran {ran} times")
        if (state == "succeeded") != (cause is None):
            faults.append("a cause and a success, or neither")
        if state == "succeeded" and (code != 0 or not done):
            faults.append("did not run to its end")
        if state == "failed" and cause == "exit":
            if not done:
                faults.append("did not run to its end")
            if asked is not None and code != asked.code:
                faults.append(f"its code was {asked.code}")
        if state == "failed" and cause == "timeout" and asked is not None and asked.kind != "late":
            faults.append("its time was not over")
        if state == "failed" and cause not in ("exit", "timeout"):
            faults.append("nothing did that to it")
        if state == "cancelled" and row["job"] not in self.cancelled:
            faults.append("nobody cancelled it")
        if cause == "never_started" and ran:
            faults.append("it did start")
        if (row["started"] is None) and ran:
            faults.append("its start is not on record")
        return faults

    def _noted(self, name: str) -> Counter[str]:
        file = self.manager.home / "cache" / name
        return Counter(file.read_text().split() if file.exists() else ())

    def _secrets(self) -> list[str]:
        found = []
        for file in self.manager.state.rglob("*"):
            with suppress(OSError):
                if file.is_file() and SECRET.encode() in file.read_bytes():
                    found.append(file.name)
        return found

    def _engine_ended(self) -> bool:
        return any(self.happened[name] for name in ENGINE_TROUBLES)

    def _one_each(self) -> bool:
        witnesses = list((self.manager.state / "agents").iterdir())
        return len(self.manager.containers()) == len(witnesses) == self.slots

    def _leftovers(self, accounts: Accounts) -> None:
        """The pool is emptied; nothing of it may be left anywhere."""
        idle = self.manager.cli("wait", "--for", "idle", "--timeout", "100")
        if idle.returncode != 0:
            accounts.faults.append(f"the pool does not come to rest: {idle.stderr.strip()}")
        try:
            until(self._one_each, "one agent a slot")
        except AssertionError:
            kept = len(list((self.manager.state / "agents").iterdir()))
            accounts.faults.append(
                f"{self.manager.containers()} and {kept} witnesses for {self.slots} slots"
            )
        drained = self.manager.cli("drain", "--all", "--wait", "--timeout", "100")
        if drained.returncode != 0:
            accounts.faults.append(f"the pool is not drained: {drained.stderr.strip()}")
        left = self.manager.containers()
        host = self.manager.host_id()
        self.manager.kill(signal.SIGTERM)
        holders = self._running(HOLDERS)
        networks = self.engine.docker(
            "network", "ls", "-q", "--filter", f"label=io.mayfly.host={host}"
        ).split()
        witnesses = [place.name for place in (self.manager.state / "agents").iterdir()]
        shims = [pid for pid in _processes() if _of(pid, self.engine.home, "containerd-shim")]
        for what, found in (
            ("containers", left),
            ("holders", holders),
            ("networks", networks),
            ("witnesses", witnesses),
            ("shims", shims),
        ):
            accounts.figures.append((f"{what} left", len(found)))
            # An Engine that ends while it starts a container may forget it: its gate waits on below its shim,
            # and nobody who asks that Engine can know; so it may forget a holder. No job can be in them.
            engines_own = what == "shims" and self._engine_ended()
            if found and what != "networks" and not engines_own:
                accounts.faults.append(f"{what} are left: {found}")
        for network in networks:
            # Engine 20.10 may count an end of a network that it does not list, and then removes the network
            # for nobody until it is restarted. Any other network that is left is the manager's fault.
            ends = self.engine.docker("network", "inspect", "-f", "{{json .Containers}}", network)
            if ends != "{}" or self.engine.docker("network", "rm", network, check=False):
                accounts.faults.append(f"network {network} is left, with the ends {ends}")
        for shim in shims:
            below = _below(shim)
            accounts.figures.append((f"  below shim {shim}", "; ".join(below) or "nothing"))
            at_gate = (
                "/opt/mayfly/gate",
                "docker-init",
                "runc init",
            )  # the last: made, not started
            lives = [
                line
                for line in below
                if line != RESTS and not any(word in line for word in at_gate)
            ]
            accounts.faults += [f"left below a shim: {line}" for line in lives]


def _processes() -> list[str]:
    return [place.name for place in Path("/proc").iterdir() if place.name.isdigit()]


def _below(parent: str) -> list[str]:
    """The command lines of all processes beneath one."""
    found = []
    for pid in _processes():
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            if stat.rpartition(")")[2].split()[1] == parent:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                found += [line.strip(), *_below(pid)]
    return found


def _of(pid: str, home: Path, program: str = "") -> bool:
    """Whether the process was started for this Engine."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return f"{home}/".encode() in line and program.encode() in line
