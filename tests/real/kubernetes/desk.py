"""Where a page's lines are typed: somebody's desk, with a kubeconfig, `kubernetes/` and `mayfly`.

    desk = Desk(cluster, tmp_path)
    desk.type_block("docs/how-to/kubernetes.md", 0)

Each line is run as it stands there, but for words that are replaced by what they are here. There is no
registry: what is pushed goes into the node itself, under the name that it is pushed by.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.harness import until
from tests.pages import ROOT, consoles
from tests.real.kubernetes.cluster import IMAGES, Cluster
from tests.real.kubernetes.lab_settings import NODE
from tests.real.kubernetes.namespace import Namespace

NAMESPACE = "mayfly"
HERE = (sys.executable, "-m", "mayfly.cli.app")
# A node of the tests is small.
SMALL = {
    'memory = "4GiB"': 'memory = "96MiB"',
    'memory = "1GiB"': 'memory = "96MiB"',
    "cpus = 2": "cpus = 0.01",
    "cpus = 1": "cpus = 0.01",
}
PROGRAMS = {
    "mayfly": f'exec {" ".join(HERE)} "$@"',
    "sudo": 'exec "$@"',
    "kubectl": 'exec {kubelab} kubectl "$@"',
}


class Desk:
    """A folder, and what is on its path."""

    def __init__(self, cluster: Cluster, place: Path) -> None:
        self.cluster = cluster
        self.place = place
        self.words: dict[str, str] = {}  # of the pages, and what they are here
        self.instead: dict[str, Callable[[], object]] = {}  # whole lines, and what is done for them
        self.environment = {
            **{key: one for key, one in os.environ.items() if not key.startswith("MAYFLY_")},
            "KUBECONFIG": str(place / "desk-kubeconfig"),
            "PYTHONPATH": f"{ROOT}/manager",
            "PATH": f"{place}/bin:{os.environ['PATH']}",
        }
        self._pushed: list[str] = []
        shutil.copytree(ROOT / "kubernetes", place / "kubernetes")
        shutil.copy(cluster.kubeconfig, place / "desk-kubeconfig")
        (place / "bin").mkdir()
        for name, script in PROGRAMS.items():
            file = place / "bin" / name
            text = script.replace("{kubelab}", cluster.kubectl_words()[0])
            file.write_text(f"#!/bin/sh\n{text}\n")
            file.chmod(0o755)

    def typed(self, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What came of that line."""
        if (does := self.instead.get(line)) is not None:
            does()
            return subprocess.CompletedProcess(line, 0, "", "")
        first, _, _ = line.partition(" ")
        if line.startswith("docker push "):
            self._push(line.rpartition(" ")[2])
            return subprocess.CompletedProcess(line, 0, "", "")
        for word, here in self.words.items():
            line = line.replace(word, here)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=ROOT if first in ("make", "docker") else self.place,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, (
            f"{line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done

    def _push(self, name: str) -> None:
        """Into the node; what is there under its own name gets this one, too."""
        self._pushed.append(name)
        if name.endswith(IMAGES[0]):
            self.cluster.ctr("images", "tag", "--force", f"docker.io/{IMAGES[0]}", name)
        else:
            self.cluster.load(name)

    def type_block(self, page: str, number: int) -> None:
        """Each line of that block of a page; what the page shows appears."""
        (console,) = [one for one in consoles() if (one.page, one.number) == (page, number)]
        for line, shown in console.typed:
            said = self.typed(line)
            if shown:
                assert said.stdout.splitlines() == list(shown), (
                    f"{line}: {said.stdout}{said.stderr}"
                )

    def mayfly(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``mayfly WORDS`` at this desk, however it ends."""
        return subprocess.run(
            [*HERE, *words],
            cwd=self.place,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def close(self) -> None:
        """Forget the names that were pushed."""
        for name in self._pushed:
            subprocess.run(["docker", "rmi", name], capture_output=True, check=False)


def block_of(page: str, language: str, number: int = 0, words: Mapping[str, str] = SMALL) -> str:
    """A block of a page that is no console, with those words of it replaced."""
    text = (ROOT / page).read_text().split(f"```{language}\n")[number + 1].partition("```")[0]
    for word, here in words.items():
        text = text.replace(word, here)
    return text


def volume(cluster: Cluster, name: str) -> Path:
    """A volume of the node for whoever claims one first; its folder, which any user may write to."""
    place = cluster.home / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    place.chmod(0o777)
    fits = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    cluster.api.post(
        "/api/v1/persistentvolumes",
        {
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "20Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": str(place)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [fits]}]}},
            },
        },
    )
    return place


def emptied(cluster: Cluster) -> None:
    """Nothing is left of the pages' namespace."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    if cluster.api.there(path) is None:
        return
    sets = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/mayfly"
    cluster.api.delete(sets)
    space = Namespace(cluster, NAMESPACE)

    def gone() -> bool:
        if cluster.api.there(path) is None:
            return True
        for pod in cluster.api.get(f"{path}/pods")["items"]:
            cluster.api.delete(f"{path}/pods/{pod['metadata']['name']}", grace=1)
        return False

    space.close()
    until(gone, f"namespace {NAMESPACE} is gone")
