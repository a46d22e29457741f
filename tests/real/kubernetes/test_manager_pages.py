"""The manager as a pod, and beside a cluster: each line of the pages typed, and what is asked from a desk."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until
from tests.real.kubernetes.cluster import Cluster
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.desk import NAMESPACE, Desk, block_of, emptied, volume
from tests.real.kubernetes.namespace import Namespace

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(900)]

BESIDE = "docs/how-to/kubernetes.md"
INSIDE = "docs/how-to/manager-in-a-cluster.md"
BOTH = "docs/how-to/boxes-and-a-cluster.md"
WAITS = "until [ -e /tmp/go ]; do sleep 0.1; done"


@pytest.fixture(scope="module")
def desk(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk, with the manager's configuration as the page has it."""
    one = Desk(cluster, tmp_path_factory.mktemp("desk"))
    one.place.joinpath("token").write_text("ghp_good\n")
    one.place.joinpath("kubernetes/manager/config.toml").write_text(block_of(INSIDE, "toml"))
    edited = one.place / "kubernetes/manager/kustomization.yaml"
    text, images = edited.read_text(), block_of(INSIDE, "yaml")
    text = re.sub(r"^images:\n(  .*\n)+", images, text, flags=re.MULTILINE)
    assert images in text
    edited.write_text(text)
    yield one
    one.close()


@pytest.fixture(scope="module")
def inside(cluster: Cluster, desk: Desk) -> Iterator[Desk]:
    """The manager in the cluster, set up as its page says."""
    emptied(cluster)
    volume(cluster, "state")
    desk.type_block(INSIDE, 0)
    desk.type_block(INSIDE, 1)
    desk.typed("kubectl config set-context lab --namespace mayfly")
    yield desk
    emptied(cluster)
    cluster.api.delete("/api/v1/persistentvolumes/state")


def status(desk: Desk) -> dict[str, Any]:
    """What the manager in the cluster says of itself."""
    done = desk.mayfly("--context", "lab", "status", "--json")
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def slots(desk: Desk) -> set[str]:
    """Which it has."""
    return {str(row["slot"]) for row in status(desk)["slots"]}


def rests(desk: Desk) -> bool:
    """Whether each slot of it is idle."""
    done = desk.mayfly("--context", "lab", "status", "--json")
    slots = json.loads(done.stdout)["slots"] if done.stdout else []
    return bool(slots) and {row["phase"] for row in slots} == {"idle"}


def test_each_line_leads_from_an_image_to_a_job_from_the_desk(inside: Desk) -> None:
    until(lambda: rests(inside), "every slot is idle")
    inside.type_block(INSIDE, 3)
    until(lambda: rests(inside), "every slot is idle again")
    inside.type_block(INSIDE, 4)


def test_the_manager_has_what_it_needs_and_no_more(inside: Desk, cluster: Cluster) -> None:
    (pod,) = cluster.api.get(
        f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector="app.kubernetes.io/component=manager"
    )["items"]

    def said(*words: str) -> subprocess.CompletedProcess[str]:
        name = pod["metadata"]["name"]
        return cluster.kubectl("-n", NAMESPACE, "exec", name, "--", *words, check=False)

    assert said("id", "-u").stdout == "65532\n"
    assert said("sh", "-c", "touch /opt/mayfly/x").returncode != 0, "its files are not its own"
    assert said("sh", "-c", "grep CapEff /proc/self/status").stdout.split() == [
        "CapEff:",
        "0000000000000000",
    ]
    assert said("pip", "--version").returncode != 0
    credentials = said("sh", "-c", "cat /run/credentials/mayfly/github").stdout
    assert credentials == "ghp_good\n"
    agents = cluster.api.get(
        f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector="app.kubernetes.io/managed-by=mayfly"
    )["items"]
    assert agents
    for one in agents:
        mounted = [row["mountPath"] for row in one["spec"]["containers"][0]["volumeMounts"]]
        assert not any("serviceaccount" in path for path in mounted)


def test_probes_and_metrics_are_answered_at_the_pods_own_address(
    inside: Desk, cluster: Cluster
) -> None:
    pod = cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/mayfly-0")
    conditions = {row["type"]: row["status"] for row in pod["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    place = f"http://{pod['status']['podIP']}:9925"

    def asked(path: str) -> str:
        done = subprocess.run(
            ["curl", "-sS", f"{place}{path}"], capture_output=True, text=True, check=True
        )
        return done.stdout

    assert asked("/readyz") == "ok\n"
    assert asked("/livez") == "ok\n"
    assert "\nmayfly_slot_phase{" in asked("/metrics")


def test_what_is_asked_of_a_manager_here_is_asked_of_one_there(inside: Desk) -> None:
    until(lambda: rests(inside), "every slot is idle")
    folder = inside.place / "brought"
    folder.mkdir(exist_ok=True)
    (folder / "words").write_text("brought along\n")
    done = inside.mayfly(
        *("--context", "lab", "submit", "--wait", "--dir", str(folder), "--", "cat", "words")
    )
    assert (done.returncode, done.stdout) == (0, "brought along\n"), done.stderr
    job = inside.mayfly("--context", "lab", "submit", "--", "sh", "-c", "echo one; exit 3")
    assert job.returncode == 0, job.stderr
    followed = inside.mayfly("--context", "lab", "logs", "-f", job.stdout.strip())
    assert followed.stdout == "one\n", followed.stderr
    rows = json.loads(inside.mayfly("--context", "lab", "jobs", "--json").stdout)["jobs"]
    assert {row["owner"] for row in rows} == {"mayfly"}
    refused = inside.mayfly("--context", "lab", "submit", "--out", "x", "--", "true")
    assert refused.returncode == 1
    assert "nothing is brought back from pool cpu" in refused.stderr
    refused = inside.mayfly("--context", "lab", "submit", "--image", "lab/x:1", "--", "true")
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    runs = inside.mayfly("--context", "lab", "submit", "--", "sleep", "600").stdout.strip()
    until(lambda: _state(inside, runs) == "running", "a job runs")
    line = f"printf 'typed\\n' | mayfly --context lab attach {runs} -- cat"
    assert inside.typed(line).stdout == "typed\n"
    assert inside.mayfly("--context", "lab", "cancel", runs).returncode == 0
    until(lambda: _state(inside, runs) == "cancelled", "it is cancelled")


def _state(desk: Desk, job: str) -> str:
    """Of that job of the manager in the cluster."""
    rows = json.loads(desk.mayfly("--context", "lab", "jobs", "--json").stdout)["jobs"]
    (row,) = [one for one in rows if one["job"] == job]
    return str(row["state"])


def test_a_deleted_manager_comes_back_and_its_job_goes_on(inside: Desk, cluster: Cluster) -> None:
    until(lambda: rests(inside), "every slot is idle")
    words = ("--context", "lab", "submit", "--", "sh", "-c", f"{WAITS}; echo of two managers")
    job = inside.mayfly(*words).stdout.strip()

    def row() -> dict[str, Any]:
        rows = json.loads(inside.mayfly("--context", "lab", "jobs", "--json").stdout or "{}")
        (found,) = [one for one in rows.get("jobs", ()) if one["job"] == job] or [{}]
        return dict(found)

    until(lambda: row().get("state") == "running", "the job runs")
    pod = f"{row()['slot']}-{row()['agent']}"
    before = cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/mayfly-0")["metadata"]["uid"]
    cluster.api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/mayfly-0")

    def another() -> bool:
        found = cluster.api.there(f"/api/v1/namespaces/{NAMESPACE}/pods/mayfly-0")
        return found is not None and found["metadata"]["uid"] != before

    until(another, "another manager is made")
    inside.typed("kubectl rollout status statefulset/mayfly --namespace mayfly --timeout 5m")
    cluster.kubectl("-n", NAMESPACE, "exec", pod, "--", "touch", "/tmp/go")
    until(lambda: row().get("state") == "succeeded", "the job has ended well")
    assert inside.mayfly("--context", "lab", "logs", job).stdout == "of two managers\n"


def test_a_second_manager_of_the_namespace_waits_and_says_whom_for(
    inside: Desk, cluster: Cluster
) -> None:
    space = Namespace(cluster, NAMESPACE)
    with ClusterManager(space, pool(1)) as second:
        second.start(wait="answer")

        def told() -> bool:
            return "is run by another manager (mayfly-0)" in second.health().get(
                "engine.unknown", ""
            )

        until(told, "it says whom it waits for")
        assert second.containers() == []
    until(lambda: rests(inside), "the first goes on")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--context", "elsewhere", "status"), 2, "none of contexts called 'elsewhere'"),
        (("--context", "lab", "--socket", "/s", "status"), 2, "go without it"),
        (("--context", "lab", "doctor"), 2, "mayfly doctor is about this host"),
        (("--context", "empty", "status"), 3, "no manager is in namespace empty of context empty"),
        (("--context", "stranger", "status"), 1, 'cannot list resource "pods"'),
        (("--context", "looker", "status"), 1, 'cannot get resource "pods/exec"'),
    ],
)
def test_where_there_is_no_way_to_a_manager_one_sentence_says_why(
    inside: Desk, cluster: Cluster, words: tuple[str, ...], code: int, said: str
) -> None:
    space = Namespace(cluster, NAMESPACE)
    made = inside.place / f"account-{words[1]}"
    looks = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    if words[1] in ("stranger", "looker"):
        space.account(words[1], looks if words[1] == "looker" else [], made)
        token = json.loads(made.read_text())["users"][0]["user"]["token"]
        inside.typed(f"kubectl config set-credentials {words[1]} --token {token}")
        inside.typed(
            f"kubectl config set-context {words[1]} --cluster lab --user {words[1]} --namespace mayfly"
        )
    if words[1] == "empty":
        inside.typed("kubectl config set-context empty --cluster lab --user lab --namespace empty")
    done = inside.mayfly(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_a_pool_moves_from_a_box_to_the_cluster_line_by_line(
    inside: Desk, worker_engine: PrivateEngine
) -> None:
    with_cpu = block_of(INSIDE, "toml")
    host, _, cpu = with_cpu.partition("[[pool]]")
    other = f"{host}[[pool]]{cpu.replace('cpu', 'other', 1)}"
    config = inside.place / "kubernetes/manager/config.toml"
    config.write_text(other)
    inside.type_block(INSIDE, 4)
    until(lambda: slots(inside) == {"other-0", "other-1"}, "the cluster has no pool cpu")
    (inside.place / "config.toml").write_text(f"{other}\n[[pool]]{cpu}")
    with Manager(
        worker_engine.url,
        '[[pool]]\nname = "cpu"\nslots = 2\n[[pool]]\nname = "stays"\nslots = 1\n',
    ) as box:
        box.start()
        inside.environment["MAYFLY_CONFIG"] = str(box.config)
        try:
            inside.type_block(BOTH, 0)
            inside.type_block(BOTH, 1)
            there = {"other-0", "other-1", "cpu-0", "cpu-1"}
            assert slots(inside) == there, "the box is drained once they are there"
            assert {row["phase"] for row in status(inside)["slots"]} == {"idle"}
            box.configure('[[pool]]\nname = "stays"\nslots = 1\n')
            inside.type_block(BOTH, 2)
            until(lambda: len(box.get("/v1/status")["slots"]) == 1, "the pool is gone")
            inside.type_block(BOTH, 3)
        finally:
            del inside.environment["MAYFLY_CONFIG"]
            config.write_text(with_cpu)
            inside.type_block(INSIDE, 4)
            until(
                lambda: slots(inside) == {"cpu-0", "cpu-1"}, "the others find it as the page has it"
            )


# -- the manager beside the cluster --------------------------------------------------------------------


class PageManager(ClusterManager):
    """A manager on this host, configured as a page says."""

    def configure(self, pools: str, host: str = "", cluster: str = "") -> None:
        """As the page has it, but for the places."""
        own = f'name = "box"\nstate_dir = "{self.state}"\nsocket = "{self.home}/s"\n'
        text = pools.replace("[host]\n", f"[host]\n{own}", 1)
        self.config.write_text(text.replace("/etc/mayfly/", f"{self.home}/"))


def test_each_line_leads_from_nothing_to_a_job_of_a_manager_beside_the_cluster(
    cluster: Cluster, tmp_path: Path
) -> None:
    emptied(cluster)
    desk = Desk(cluster, tmp_path)
    space = Namespace(cluster, NAMESPACE)
    try:
        desk.type_block(BESIDE, 0)
        with PageManager(space, block_of(BESIDE, "toml")) as manager:
            desk.words["/etc/mayfly/"] = f"{manager.home}/"
            desk.environment["MAYFLY_CONFIG"] = str(manager.config)
            desk.instead["sudo systemctl start mayfly"] = manager.start
            for number in (1, 3, 4, 5, 6):  # (2 installs from a package index)
                desk.type_block(BESIDE, number)
            found = desk.typed(
                "kubectl get pods --namespace mayfly --selector app.kubernetes.io/managed-by=mayfly"
            )
            assert "cpu-0-" in found.stdout
            users = yaml.safe_load((manager.home / "kubeconfig").read_text())["users"]
            assert [one["name"] for one in users] == ["mayfly"], "no administrator's is in it"
    finally:
        desk.close()
        for kind in ("clusterrolebinding", "clusterrole"):
            cluster.kubectl("delete", kind, "mayfly-devices", "--ignore-not-found")
        emptied(cluster)
