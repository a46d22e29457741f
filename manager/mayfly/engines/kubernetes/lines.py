"""What a person types at the cluster, so that it works where it is pasted: who they are there, and in which
namespace, stands in each line.

What the manager's own account may do is typed with its kubeconfig, which is there where the line is read; a
manager that is a pod has none, and its lines get the context by which it was asked (cli/paste.py). What takes
an administrator is typed with their own.
"""

from __future__ import annotations

from shlex import quote

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import EngineLines
from mayfly.edge.cluster import Cluster
from mayfly.engines.kubernetes.quarantine import KIND as TAINTS

ROLE_OF = "mayfly"  # the namespace that kubernetes/kustomization.yaml names


def as_manager(cluster: Cluster) -> str:
    """What a line of the manager's own account begins with."""
    namespace = f"--namespace {quote(cluster.namespace)}"
    if cluster.kubeconfig is None:
        return f"kubectl {namespace}"
    context = f" --context {quote(cluster.context)}" if cluster.context is not None else ""
    return f"sudo kubectl --kubeconfig {quote(cluster.kubeconfig)}{context} {namespace}"


def lines_of(cluster: Cluster) -> EngineLines:
    """What is typed at that cluster."""
    kubectl = as_manager(cluster)
    return EngineLines(
        unpause="# nothing: pods are not paused",
        rename="# nothing: a pod keeps its name",
        inspect=f"{kubectl} describe pod {{name}}",
        status=f"{kubectl} get --raw /readyz",
        room="df -h {name}",
        clear="# nothing: an agent has no containers of its own there",
        untaint=f"kubectl delete {TAINTS} {{name}}   # as an administrator, once the device is well",
        between="-",
    )


def role(cluster: Cluster) -> str:
    """What gives the manager its rights, in Mayfly's sources, as an administrator."""
    place = "kubernetes/kustomization.yaml"
    named = quote(f"s/^namespace: .*/namespace: {cluster.namespace}/")
    elsewhere = f"sed -i {named} {place} && " if cluster.namespace != ROLE_OF else ""
    return f"{elsewhere}kubectl apply -k kubernetes   # in Mayfly's sources, as an administrator"


def run(plan: AgentPlan, words: tuple[str, ...], cluster: Cluster) -> str:
    """A command of a person's in a pod of that image."""
    what = " ".join(map(quote, words))
    return (
        f"kubectl --namespace {quote(cluster.namespace)} run look-{plan.pool} --rm -it --restart=Never "
        f"--image={quote(plan.image)} -- {what}"
    )
