"""A real manager beside a real cluster, whose agents are pods of one namespace.

    with ClusterManager(space, GPUS) as manager:
        manager.start()
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"

It runs on this host, with no more rights in the cluster than ``rights`` says.
"""

from __future__ import annotations

from typing import Any

from tests.harness import Manager
from tests.real.kubernetes.namespace import Namespace
from tests.real.kubernetes.rights import rules

# Of each agent: a small node has room for many, and none is held to its share of a processor.
LIMITS = '[pool.limits]\nmemory = "96m"\ncpus = 0.01\n'
IMAGE = "mayfly/local:cpu"
ACCOUNT = "manager"


def pool(
    slots: int, keys: str = "", *, name: str = "local", provider: str = "local", image: str = IMAGE
) -> str:
    """A pool's tables; ``keys`` are further ones of it, and its further tables."""
    return (
        f'[[pool]]\nname = "{name}"\nprovider = "{provider}"\nslots = {slots}\nimage = "{image}"\n'
        f"{keys}\n{LIMITS}"
    )


class ClusterManager(Manager):
    """One manager process after another over the same state."""

    def __init__(self, space: Namespace, pools: str, host: str = "") -> None:
        """``pools`` and ``host`` as for a manager beside an Engine."""
        self.space = space
        self._account = False
        super().__init__("unix:///none", pools, host)

    def configure(self, pools: str, host: str = "", cluster: str = "") -> None:
        """Write the configuration; ``cluster``: further keys of ``[host.kubernetes]``."""
        kubeconfig = self.home / "kubeconfig"
        if not self._account:
            self.space.account(ACCOUNT, rules(), kubeconfig)
            self._account = True
        super().configure(
            pools,
            f'engine = "kubernetes"\n{host}\n[host.kubernetes]\nnamespace = "{self.space.name}"\n'
            f'kubeconfig = "{kubeconfig}"\npull = "Never"\n{cluster}\n',
        )

    def pods(self) -> list[dict[str, Any]]:
        """All of this manager's."""
        selector = f"io.mayfly.host={self.host_id()}"
        found: list[dict[str, Any]] = self.space.cluster.api.get(
            f"{self.space.path}/pods", labelSelector=selector
        )["items"]
        return found

    def containers(self) -> list[str]:
        """Their names."""
        return [pod["metadata"]["name"] for pod in self.pods()]

    def pod_of(self, slot: str) -> str:
        """What the pod of that slot's agent is called."""
        return f"{slot}-{self.slot(slot)['agent']}"

    def let_go(self, job: str) -> None:
        """Let a job find /tmp/go."""
        words = ("exec", self.pod_of(self.job(job)["slot"]), "--", "touch", "/tmp/go")
        self.space.cluster.kubectl("-n", self.space.name, *words)

    def _swept(self) -> bool:
        """Remove what is there; whether no pod was."""
        there = self.pods()
        for one in there:
            self.space.cluster.api.delete(
                f"{self.space.path}/pods/{one['metadata']['name']}", grace=1
            )
        return not there
