"""A soak on a cluster: jobs through a pool while manager, pods and the cluster's parts fail at random.

The accounts are those of `tests/chaos/soak.py`, whose three books know nothing of each other.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.soak import ROOT, Accounts, Soak
from tests.harness import until
from tests.real.kubernetes.cluster_api import ApiFault
from tests.real.kubernetes.cluster_crashing import POINTS
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.namespace import Namespace

CRASHING = Path(__file__).with_name("cluster_crashing.py")
NOTES = '[[pool.caches]]\nsource = "pvc:notes"\ntarget = "/cache"\n'
SHARE = 0.6  # of the moments for a trouble that have one: a pod takes seconds to start, not tenths
TROUBLES = (
    ("manager killed", 4),
    ("manager stopped", 2),
    ("manager kills itself", 8),
    ("manager held still", 2),
    ("pod deleted", 6),
    ("pod evicted", 3),
    ("node drained", 2),
    ("kubelet killed", 2),
    ("apiserver restarted", 2),
    ("job cancelled", 3),
)


class ClusterSoak(Soak):
    """One run, in a namespace whose node is its own."""

    def __init__(self, space: Namespace, jobs: int, seed: int, *, slots: int = 4) -> None:
        super().__init__(jobs, seed, slots=slots)
        self.space = space
        self.cluster = space.cluster
        self.troubles = list(TROUBLES)
        self.points: list[str] = []

    def run(self) -> Accounts:
        """Run the jobs through a manager of its own, and settle the accounts."""
        with ClusterManager(self.space, "") as self.manager:
            notes = self.manager.home / "cache"
            notes.mkdir()
            notes.chmod(0o777)
            with self._claim(notes):
                self.manager.configure(self._pools(), cluster=self._claiming())
                self._start()
                until(self.manager.answers, "the manager answers")
                began = time.monotonic()
                self._work()
                self._settle()
                seconds = time.monotonic() - began
                accounts = self._accounts()
                self._leftovers(accounts)
                accounts.log = self.manager.log.read_text(errors="replace")
        accounts.figures += [
            ("seconds of jobs and troubles", round(seconds, 1)),
            ("points at which it killed itself", ", ".join(sorted(set(self.points)))),
        ]
        return accounts

    def _claiming(self) -> str:
        """Every second seed has its GPUs by claims."""
        return f'device_class = "{self.cluster.device_class()}"\n' if self.seed % 2 else ""

    def _pools(self) -> str:
        """Half of the slots have a GPU each."""
        narrow = self.slots // 2
        return pool(narrow, "gpus = 1\n" + NOTES, name="own") + pool(
            self.slots - narrow, NOTES, name="kept"
        )

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

    def _trouble(self, name: str) -> bool:
        if self.random.random() > SHARE:
            return False
        match name:
            case "manager kills itself":
                self.manager.kill(signal.SIGKILL)
                self._start(self.random.choice(list(POINTS)))
            case "pod deleted" | "pod evicted":
                return self._hit(name, "")
            case "node drained":
                # Without asking whether it may: a budget would make it wait for the jobs.
                self.cluster.drain("--grace-period=1", "--disable-eviction")
                self.cluster.uncordon()
            case "kubelet killed":
                self.cluster.kill_kubelet()
                time.sleep(self.random.uniform(0.0, 3.0))
                self.cluster.start_kubelet()
            case "apiserver restarted":
                self.cluster.kill_apiserver()
                self.cluster.start_apiserver()
            case _:
                return super()._trouble(name)
        return True

    def _hit(self, name: str, kind: str) -> bool:
        there = self.manager.containers()
        if not there:
            return False
        victim = self.random.choice(sorted(there))
        place = f"{self.space.path}/pods/{victim}"
        if name == "pod deleted":
            self.cluster.api.delete(place, grace=1)
            return True
        eviction = {"metadata": {"name": victim}, "deleteOptions": {"gracePeriodSeconds": 1}}
        with suppress(ApiFault):  # it ended meanwhile, or a budget forbids it
            self.cluster.api.post(f"{place}/eviction", eviction)
            return True
        return False

    def _start(self, point: str | None = None) -> None:
        if point is None:
            super()._start()
            return
        self.lives += 1
        self.points.append(point)
        script = (
            f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['', {point!r}]; "
            f"runpy.run_path({str(CRASHING)!r}, run_name='__main__')"
        )
        self.manager.start(sys.executable, "-c", script, wait=None)

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
