"""A soak on a cluster: jobs through GPU slots while manager, pods and the cluster's parts fail.

Over what is drawn at random lies a plan: the manager dies once at each step of a gate and of an agent's life,
the way into a gate is cut once at each byte that matters, and each trouble comes once at least. What counts
as met is what has happened: a point is written down by who dies there, and a trouble is looked for in the
cluster after it was brought about. The accounts are those of `tests/chaos/soak.py`, whose three books know
nothing of each other.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.chaos.soak import BROKEN, KINDS, ROOT, Accounts, Soak
from tests.harness import until
from tests.real.kubernetes.cluster import CLAIMED_GPUS, PLUGIN_GPUS
from tests.real.kubernetes.cluster_api import ApiFault
from tests.real.kubernetes.cluster_crashing import DEATHS, POINTS
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.lab_settings import RESOURCE
from tests.real.kubernetes.namespace import Namespace

CRASHING = Path(__file__).with_name("cluster_crashing.py")
NOTES = '[[pool.caches]]\nsource = "pvc:notes"\ntarget = "/cache"\n'
CLAIMED, COUNTED = 4, 2  # slots whose GPUs are claimed, and those whose GPUs are counted
SHARE = 0.6  # of the moments for a trouble that have one: a pod takes seconds to start, not tenths
PACE = 0.8  # of the jobs, by which all that is planned has come
REACHING = 60.0  # seconds for a manager to come to a point, before it is tried again later
AGAIN = 5  # times that what is planned may fail to come about
GOING = 40.0  # seconds for a pod to go that was deleted
ITSELF = "manager kills itself"
TROUBLES = (
    ("manager killed", 4),
    ("manager stopped", 2),
    (ITSELF, 8),
    ("manager held still", 2),
    ("pod deleted", 6),
    ("pod evicted", 3),
    ("node drained", 2),
    ("kubelet killed", 2),
    ("apiserver restarted", 2),
    ("job cancelled", 3),
)
EACH = tuple(name for name, _ in TROUBLES if name != ITSELF)


class ClusterSoak(Soak):
    """One run, in a namespace whose node is its own."""

    patience = 30.0  # a pod takes seconds to start, and many times that on a crowded machine
    kinds = tuple(
        (kind, f'echo "$NVIDIA_VISIBLE_DEVICES" >>/cache/gpus; {do}') for kind, do in KINDS
    )

    def __init__(self, space: Namespace, jobs: int, seed: int) -> None:
        super().__init__(jobs, seed, slots=CLAIMED + COUNTED)
        self.space = space
        self.cluster = space.cluster
        self.troubles = list(TROUBLES)
        planned = [*POINTS, *EACH]
        self.random.shuffle(planned)
        self.planned = deque(planned)
        self.vain: Counter[str] = Counter()  # how often what was planned did not come about

    def run(self) -> Accounts:
        """Run the jobs through a manager of its own, and settle the accounts."""
        with ClusterManager(self.space, "") as self.manager:
            notes = self.manager.home / "cache"
            notes.mkdir()
            notes.chmod(0o777)
            with self._claim(notes):
                keys = f'device_class = "{self.cluster.device_class()}"\n'
                self.manager.configure(self._pools(), cluster=keys)
                self._start()
                until(self.manager.answers, "the manager answers")
                began = time.monotonic()
                self._work()
                self._end_plan()
                self._heal()
                self._settle()
                seconds = time.monotonic() - began
                accounts = self._accounts()
                self._met(accounts)
                self._leftovers(accounts)
                accounts.log = self.manager.log.read_text(errors="replace")
        accounts.figures.append(("seconds of jobs and troubles", round(seconds, 1)))
        return accounts

    def _pools(self) -> str:
        """Every slot has a GPU: most by claims, the others by a plugin that counts."""
        counted = f'gpus = 1\n[pool.kubernetes]\ngpu_resource = "{RESOURCE}"\n'
        return pool(CLAIMED, "gpus = 1\n" + NOTES, name="kept") + pool(
            COUNTED, counted + NOTES, name="own"
        )

    def _pool(self) -> str:
        return "own" if self.random.randrange(self.slots) < COUNTED else "kept"

    @contextmanager
    def _claim(self, notes: Path) -> Iterator[None]:
        """The directory, as a claim of the namespace's."""
        api, name = self.cluster.api, self.space.name
        size = {"storage": "1Gi"}
        api.post(
            "/api/v1/persistentvolumes",
            {
                "metadata": {"name": name},
                "spec": {
                    "capacity": size,
                    "accessModes": ["ReadWriteMany"],
                    "hostPath": {"path": str(notes)},
                    "claimRef": {"namespace": name, "name": "notes"},
                },
            },
        )
        api.post(
            f"{self.space.path}/persistentvolumeclaims",
            {
                "metadata": {"name": "notes"},
                "spec": {
                    "accessModes": ["ReadWriteMany"],
                    "storageClassName": "",
                    "volumeName": name,
                    "resources": {"requests": size},
                },
            },
        )
        try:
            yield
        finally:
            api.delete(f"/api/v1/persistentvolumes/{name}")

    # -- what is planned -------------------------------------------------------------------

    def _trouble(self, name: str) -> bool:
        if self._is_due():
            self._next_planned()
            return False
        return self.random.random() <= SHARE and self._bring_about(name)

    def _is_due(self) -> bool:
        """Whether less has come of what is planned than of the jobs."""
        left = 1 - len(self.asked) / (PACE * self.wanted)
        return len(self.planned) > left * len([*POINTS, *EACH])

    def _next_planned(self) -> None:
        """Bring the next about; what does not come is tried again after the others, a few times."""
        if not self.planned:
            return
        name, came = self.planned.popleft(), False
        try:
            came = self._reach(name) if name in POINTS else self._bring_about(name)
        finally:
            if not came:
                self.vain[name] += 1
                if self.vain[name] < AGAIN:
                    self.planned.append(name)
        if came and name not in POINTS:
            self.happened[name] += 1

    def _end_plan(self) -> None:
        """What the jobs have left of it."""
        while self.planned:
            self._keep_alive()
            with suppress(*BROKEN):
                self._next_planned()

    def _reach(self, point: str) -> bool:
        """A manager's life comes to that point; whether it does, in time."""
        before = self._points()[point]
        self.manager.kill(signal.SIGKILL)
        self._start(point)
        end = time.monotonic() + REACHING
        while time.monotonic() < end:
            if self._points()[point] > before:
                if point not in DEATHS:
                    return True
                until(lambda: not self._alive(), f"it dies: {point}")
                return self.manager.kill() == -signal.SIGKILL
            if not self._alive():
                return False
            with suppress(*BROKEN):
                if not self._waiting():
                    self._submit()
            time.sleep(0.1)
        return False

    def _points(self) -> Counter[str]:
        """How often each was met, as who met it has written down."""
        return Counter(self._file().read_text().splitlines() if self._file().exists() else ())

    def _file(self) -> Path:
        return self.manager.home / "points"

    def _start(self, point: str | None = None) -> None:
        if point is None:
            super()._start()
            return
        self.lives += 1
        argv = ["", point, str(self._file())]
        script = (
            f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = {argv!r}; "
            f"runpy.run_path({str(CRASHING)!r}, run_name='__main__')"
        )
        self.manager.start(sys.executable, "-c", script, wait=None)

    # -- what goes wrong -------------------------------------------------------------------

    def _bring_about(self, name: str) -> bool:
        """Bring that trouble about; whether it has come."""
        with suppress(ApiFault, subprocess.SubprocessError):
            return self._comes(name)
        return False

    def _comes(self, name: str) -> bool:
        match name:
            case "manager killed" | "manager stopped":
                if not self._alive():
                    return False
                sig = signal.SIGKILL if name == "manager killed" else signal.SIGTERM
                code = self.manager.kill(sig)
                time.sleep(self.random.uniform(0.0, 1.0))
                return (code == -signal.SIGKILL) is (sig is signal.SIGKILL)
            case "manager kills itself":
                self.manager.kill(signal.SIGKILL)
                self._start(self.random.choice(POINTS))
                return False  # what comes of it is written down there
            case "pod deleted" | "pod evicted":
                return self._is_hit(evicted=name == "pod evicted")
            case "node drained":
                return self._is_drained()
            case "kubelet killed":
                self.cluster.kill_kubelet()
                gone = not self.cluster.machine.runs("kubelet")
                time.sleep(self.random.uniform(0.0, 3.0))
                self.cluster.start_kubelet()
                return gone
            case "apiserver restarted":
                self.cluster.kill_apiserver()
                gone = not self.cluster.machine.runs("apiserver")
                self.cluster.start_apiserver()
                return gone
            case _:
                return super()._trouble(name)

    def _is_hit(self, *, evicted: bool) -> bool:
        """Have one pod go that runs, and see it gone: a job's rather than one at its gate."""
        there = self._running_pods()
        busy = {f"{row['slot']}-{row['agent']}" for row in self._running_jobs()}
        names = self.random.sample(sorted(there), len(there))
        for name in sorted(names, key=lambda one: one not in busy):
            if self._asked_to_go(name, evicted=evicted):
                until(partial(self._are_gone, {there[name]}), f"pod {name} is gone", GOING)
                return True
        return False

    def _running_pods(self) -> dict[str, str]:
        """The names of those that run and are not asked to go, with their uids."""
        return {
            str(pod["metadata"]["name"]): str(pod["metadata"]["uid"])
            for pod in self.cluster.api.get(f"{self.space.path}/pods")["items"]
            if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp")
        }

    def _are_gone(self, uids: set[str]) -> bool:
        pods = self.cluster.api.get(f"{self.space.path}/pods")["items"]
        return uids.isdisjoint(pod["metadata"]["uid"] for pod in pods)

    def _asked_to_go(self, name: str, *, evicted: bool) -> bool:
        """Whether the cluster has it go: it may have ended meanwhile, or a budget may forbid it."""
        place = f"{self.space.path}/pods/{name}"
        if not evicted:
            return self.cluster.api.delete(place, grace=1)
        options = {"gracePeriodSeconds": 1}
        eviction = {"metadata": {"name": name}, "deleteOptions": options}
        try:
            self.cluster.api.post(f"{place}/eviction", eviction)
        except ApiFault:
            return False
        return True

    def _running_jobs(self) -> list[dict[str, str]]:
        with suppress(*BROKEN):
            rows: list[dict[str, str]] = self.manager.get("/v1/jobs?limit=1")["jobs"]
            return [row for row in rows if row["state"] == "running"]
        return []

    def _is_drained(self) -> bool:
        before = set(self._running_pods().values())
        try:
            # Without asking whether it may: a budget would make it wait for the jobs.
            done = self.cluster.drain("--grace-period=1", "--disable-eviction")
        finally:
            self.cluster.uncordon()
        return done.returncode == 0 and bool(before) and self._are_gone(before)

    def _heal(self) -> None:
        """Whoever was hurt and not healed, since something else broke meanwhile."""
        if not self.cluster.machine.runs("apiserver"):
            self.cluster.start_apiserver()
        if not self.cluster.machine.runs("kubelet"):
            self.cluster.start_kubelet()
        self.cluster.uncordon()

    # -- accounts --------------------------------------------------------------------------

    def _met(self, accounts: Accounts) -> None:
        """Each point and each trouble was met, and each GPU had jobs."""
        points = self._points()
        for point in POINTS:
            what = "manager killed itself" if point in DEATHS else "attachment"
            accounts.figures.append((f"  {what}: {point}", points[point]))
        met = {*points, *self.happened}
        accounts.faults += [f"never met: {name}" for name in (*POINTS, *EACH) if name not in met]
        gpus = self._noted("gpus")
        accounts.figures.append(("GPUs that jobs had", len(gpus)))
        accounts.faults += [f"no job had {gpu}" for gpu in CLAIMED_GPUS if gpu not in gpus]
        accounts.faults += [f"{gpu} is none" for gpu in gpus.keys() - {*CLAIMED_GPUS, *PLUGIN_GPUS}]

    def _leftovers(self, accounts: Accounts) -> None:
        """The pool is emptied; nothing of it may be left in the namespace."""
        idle = self.manager.cli("wait", "--for", "idle", "--timeout", "100")
        if idle.returncode != 0:
            accounts.faults.append(f"the pool does not come to rest: {idle.stderr.strip()}")
        drained = self.manager.cli("drain", "--all", "--wait", "--timeout", "100")
        if drained.returncode != 0:
            accounts.faults.append(f"the pool is not drained: {drained.stderr.strip()}")
        self.manager.kill(signal.SIGTERM)
        api = self.cluster.api
        found = {
            "pods": f"{self.space.path}/pods",
            "secrets": f"{self.space.path}/secrets",
            "claims of devices": f"/apis/resource.k8s.io/v1/namespaces/{self.space.name}/resourceclaims",
            "budgets": f"/apis/policy/v1/namespaces/{self.space.name}/poddisruptionbudgets",
        }

        def there() -> dict[str, list[str]]:
            return {
                what: [one["metadata"]["name"] for one in api.get(path)["items"]]
                for what, path in found.items()
            }

        with suppress(AssertionError):  # what goes with its pod goes a little later
            until(lambda: not any(there().values()), "nothing is left", 30)
        left = there()
        left["witnesses"] = [place.name for place in (self.manager.state / "agents").iterdir()]
        for what, names in left.items():
            accounts.figures.append((f"{what} left", len(names)))
            if names:
                accounts.faults.append(f"{what} are left: {names}")
