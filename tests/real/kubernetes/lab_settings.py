"""What the programs of a cluster are told: their configuration files and command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.real.kubernetes.node_machine import SERVICE, SERVICES

NODE = "node-1"
PAUSE = "docker.io/mayfly/pause:lab"
RESOURCE = "nvidia.com/gpu"
DRIVER = "gpu.mayfly.test"
STORE = "http://127.0.0.1:2379"
# Those that a pod's life needs. Without node-lifecycle a node keeps the taint that it is born with, and
# without the one for service accounts no pod is admitted.
CONTROLLERS = (
    "clusterrole-aggregation",
    "device-taint-eviction",
    "disruption",
    "garbage-collector",
    "job",
    "namespace",
    "node-lifecycle",
    "persistentvolume-binder",
    "persistentvolume-protection",
    "persistentvolumeclaim-protection",
    "pod-garbage-collector",
    "resourceclaim",
    "resourcequota",
    "root-ca-certificate-publisher",
    "serviceaccount",
    "serviceaccount-token",
    "statefulset",
    "taint-eviction",
)


def gpu(kind: str, number: int) -> str:
    """The UUID of a GPU that is none: ``a`` the plugin's, ``d`` the driver's of resource claims."""
    return f"GPU-{kind * 8}-0000-4000-8000-{number:012x}"


def containerd(home: Path, cni: Path) -> str:
    """Of version 2. It makes no process less likely to be killed for memory than itself."""
    return f"""version = 3
root = "{home}/containerd/root"
state = "{home}/containerd/state"
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{home}/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
cdi_spec_dirs = ["{home}/cdi"]
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "{home}/cni"
"""


def network(home: Path, pods: str) -> str:
    """A bridge for the pods, which the node routes."""
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{home}/addresses",
            "ranges": [[{"subnet": pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]})


def kubelet(home: Path, address: str, cgroup: str) -> str:
    """cgroups of version 1 will do, and this host's packet filter is left alone."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": address,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            # Small shares let many pods on a small host: they are for the scheduler, and make nobody wait.
            "cpuCFSQuota": False,
            "containerRuntimeEndpoint": f"unix://{home}/containerd.sock",
            "evictionHard": {"memory.available": "50Mi"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "maxPods": 200,
            "nodeStatusUpdateFrequency": "1s",
            "oomScoreAdj": 0,
            "podPidsLimit": 4096,
        }
    )


def apiserver(home: Path, address: str) -> list[str]:
    """Reached at the node's address, and by pods at the service's, which the node has as well."""
    return [
        "--bind-address=0.0.0.0",
        f"--advertise-address={address}",
        "--secure-port=443",
        f"--etcd-servers={STORE}",
        f"--cert-dir={home}/pki",
        f"--token-auth-file={home}/tokens.csv",
        "--authorization-mode=RBAC",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-account-issuer=https://{SERVICE}",
        f"--service-account-signing-key-file={home}/pki/accounts.key",
        f"--service-account-key-file={home}/pki/accounts.key",
        "--allow-privileged=true",
        f"--audit-policy-file={home}/audit.json",
        f"--audit-log-path={home}/audit.log",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def audit() -> str:
    """What accounts of namespaces ask for is written down: each call once, when it is answered."""
    everyone = {
        "level": "Metadata",
        "userGroups": ["system:serviceaccounts"],
        "omitStages": ["RequestReceived", "ResponseComplete"],
    }
    short = {**everyone, "verbs": ["create", "delete", "get", "list", "patch", "update"]}
    short["omitStages"] = ["RequestReceived", "ResponseStarted"]
    return json.dumps(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "rules": [short, everyone, {"level": "None"}],
        }
    )


def controllers(home: Path) -> list[str]:
    """All as the one user, which may do everything."""
    return [
        f"--kubeconfig={home}/kubeconfig",
        "--leader-elect=false",
        "--use-service-account-credentials=false",
        f"--service-account-private-key-file={home}/pki/accounts.key",
        f"--root-ca-file={home}/pki/apiserver.crt",
        "--controllers=" + ",".join(f"{name}-controller" for name in CONTROLLERS),
    ]


def kubeconfig(server: str, authority: Path, token: str, namespace: str = "default") -> str:
    """One context, of who has that token."""
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [
            {"name": "lab", "cluster": {"server": server, "certificate-authority": str(authority)}}
        ],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [
            {"name": "lab", "context": {"cluster": "lab", "user": "lab", "namespace": namespace}}
        ],
    }
    return json.dumps(document)
