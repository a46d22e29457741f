"""Each line that is typed at a cluster says who types it, and in which namespace."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Refused
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.lines import lines_of, role
from tests.engine.contract import World
from tests.fakes.kubernetes import FakeCluster
from tests.pages import ROOT

Make = Callable[[FakeCluster], KubernetesEngine]
BOX = Cluster(namespace="ci", kubeconfig="/etc/mayfly/kube config", context="lab")
INSIDE = Cluster(namespace="ci")
GENERATION = "0m1abcd2efgh3"
# What is of no namespace, or says its own.
OF_THE_CLUSTER = re.compile(
    r"kubectl ((--context|--kubeconfig) \S+ )?(apply -k|kustomize|config|get --raw|auth|label namespace"
    r"|create token \S+ --namespace|drain|cordon|uncordon|cluster-info|version"
    r"|(get|delete|create) (node|deviceclass|runtimeclass|priorityclass|devicetaintrule|clusterrole"
    r"|\{TAINTS\}|\{kind\}))"
)
MANAGERS = "sudo kubectl --kubeconfig '/etc/mayfly/kube config' --context lab --namespace ci"


@pytest.mark.parametrize(
    ("cluster", "begins"), [(BOX, MANAGERS), (INSIDE, "kubectl --namespace ci")]
)
def test_a_line_of_an_agents_names_its_pod_its_namespace_and_how_the_cluster_is_reached(
    cluster: Cluster, begins: str
) -> None:
    lines = lines_of(cluster)
    assert lines.on(lines.inspect, f"cpu-0.{GENERATION}") == (
        f"{begins} describe pod cpu-0-{GENERATION}"
    )
    assert lines.status == f"{begins} get --raw /readyz"


def test_the_role_is_put_where_the_agents_are() -> None:
    said = "kubectl apply -k kubernetes   # in Mayfly's sources, as an administrator"
    assert role(Cluster()) == said
    assert role(BOX) == (
        f"sed -i 's/^namespace: .*/namespace: ci/' kubernetes/kustomization.yaml && {said}"
    )
    assert "namespace: mayfly\n" in (ROOT / "kubernetes/kustomization.yaml").read_text()


def of_a_namespace_without_saying_which(line: str) -> bool:
    return not OF_THE_CLUSTER.search(line) and "--namespace" not in line


def test_what_a_doctor_says_to_type_can_be_pasted(fake: FakeCluster, engine_of: Make) -> None:
    engine = engine_of(fake)
    engine.cluster = replace(engine.cluster, pools_runtimes=("gvisor",), priority_class="high")
    fake.quotas = [
        {"metadata": {"name": "q"}, "status": {"hard": {"pods": "1"}, "used": {"pods": "1"}}}
    ]
    fake.denied = {("create", "pods"), ("create", "poddisruptionbudgets"), ("get", "namespaces")}
    fixes = [one.fix for one in engine.examine() if not one.well]
    assert len(fixes) >= 6
    for fix in fixes:
        assert not of_a_namespace_without_saying_which(fix), fix
        assert shlex.split(fix.partition("   #")[0])


def test_a_command_of_a_persons_is_told_with_the_line_that_runs_it(
    fake: FakeCluster, engine_of: Make, tmp_path: Path
) -> None:
    world = World(engine_of(fake), tmp_path / "state")
    with pytest.raises(Refused, match=r"`kubectl --namespace agents run look-contract .*-- id -u`"):
        world.engine.converse(world.plan(), ("id", "-u"), terminal=True)
    world.close()


PAGES = sorted(
    page
    for page in (ROOT / "docs").rglob("*.md")
    if "adr" not in page.parts and "kubectl" in page.read_text()
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_line_of_a_page_says_in_which_namespace(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    typed = re.findall(r"^\$ (.*\bkubectl .*)$", text, re.MULTILINE)
    typed += re.findall(r"`(kubectl [a-z]+ [^`]+)`", text)
    assert typed
    assert [line for line in typed if of_a_namespace_without_saying_which(line)] == []


def test_a_line_of_the_source_says_in_which_namespace() -> None:
    """As far as it stands there in one piece."""
    found = [
        (file.name, line)
        for file in (ROOT / "manager/mayfly").rglob("*.py")
        for line in re.findall(r"[\"`](kubectl [a-z]+ [^\"`]+)[\"`]", file.read_text())
        if of_a_namespace_without_saying_which(line)
    ]
    assert found == []
