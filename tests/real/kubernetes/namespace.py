"""One test's namespace: its pods, who may do what in it, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.real.kubernetes.cluster_api import ClusterApi

if TYPE_CHECKING:
    from tests.real.kubernetes.cluster import Cluster

Rule = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Namespace:
    """A namespace of a cluster of the tests."""

    cluster: Cluster
    name: str

    @property
    def path(self) -> str:
        """Where its objects of the core are."""
        return f"/api/v1/namespaces/{self.name}"

    def run(self, name: str, spec: dict[str, Any], **metadata: Any) -> Any:
        """Make a pod that is not started again; ``spec`` may say all else."""
        document = {
            "metadata": {"name": name, **metadata},
            "spec": {"restartPolicy": "Never", "automountServiceAccountToken": False, **spec},
        }
        return self.cluster.api.post(f"{self.path}/pods", document)

    def pod(self, name: str) -> Any | None:
        """That pod; ``None`` where there is none."""
        return self.cluster.api.there(f"{self.path}/pods/{name}")

    def phase(self, name: str) -> str | None:
        """That pod's phase; ``None`` where there is none."""
        pod = self.pod(name)
        return None if pod is None else str(pod["status"]["phase"])

    def log(self, name: str) -> str:
        """What that pod has printed."""
        return self.cluster.api.text(f"{self.path}/pods/{name}/log")

    def account(self, name: str, rules: Sequence[Rule], place: Path) -> ClusterApi:
        """A ServiceAccount that may do that here and nothing else; its kubeconfig is written there."""
        api = self.cluster.api
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.name}"
        api.post(f"{self.path}/serviceaccounts", {"metadata": {"name": name}})
        api.post(
            f"{roles}/roles", {"metadata": {"name": name}, "rules": [dict(rule) for rule in rules]}
        )
        api.post(
            f"{roles}/rolebindings",
            {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.name}],
            },
        )
        asked = {"spec": {"expirationSeconds": 31_536_000}}
        token = api.post(f"{self.path}/serviceaccounts/{name}/token", asked)["status"]["token"]
        self.cluster.write_kubeconfig(place, token, self.name)
        return ClusterApi(self.cluster.server, self.cluster.authority, token)

    def close(self) -> None:
        """Ask for its end, and end its pods now; what it leaves goes with the cluster."""
        api = self.cluster.api
        for pod in api.get(f"{self.path}/pods")["items"]:
            api.delete(f"{self.path}/pods/{pod['metadata']['name']}", grace=1)
        api.delete(f"/api/v1/namespaces/{self.name}")
