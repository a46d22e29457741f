"""The chart has what kustomize has: both are rendered, by Helm's own library and by kubectl, and compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import ROOT
from tests.real.kubernetes.lab_parts import lab_parts

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(600)]

CONFIG = (ROOT / "kubernetes/manager/config.toml").read_text()
RENDER = """
import json, sys
from helm_python.chart import Chart
print(json.dumps(Chart.load(sys.argv[1]).render(json.loads(sys.argv[2]), namespace="mayfly")))
"""


@pytest.fixture(scope="module")
def helm() -> Path:
    """Where its library is; a skip says why not."""
    done = subprocess.run([ROOT / "scripts/helm"], capture_output=True, text=True, check=False)
    if done.returncode == 75:
        pytest.skip("no registry gave Helm")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def rendered(helm: Path, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """What Helm makes of the chart with those values."""
    return subprocess.run(
        [sys.executable, "-c", RENDER, ROOT / "kubernetes/chart", json.dumps(values)],
        env={**os.environ, "PYTHONPATH": str(helm)},
        capture_output=True,
        text=True,
        check=False,
    )


def objects(*texts: str) -> dict[tuple[str, str], Any]:
    """What such texts have, by kind and name; in which namespace each is left out."""
    found = [one for text in texts for one in yaml.safe_load_all(text) if one]
    for one in found:
        one["metadata"].pop("namespace", None)
        for subject in one.get("subjects", ()):
            subject.pop("namespace", None)
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def made(helm: Path, values: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """The objects of the chart."""
    done = rendered(helm, values)
    assert done.returncode == 0, done.stderr
    return objects(*json.loads(done.stdout).values())


def kustomized(place: Path) -> str:
    """What kubectl makes of a directory of kustomize's."""
    return subprocess.run(
        [lab_parts().kubelab, "kubectl", "kustomize", str(place)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_whom_a_manager_reaches_is_bounded_where_it_is_asked_for(
    helm: Path, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "kubernetes/manager", tmp_path / "manager")
    own = tmp_path / "manager/kustomization.yaml"
    without = objects(kustomized(own.parent))
    own.write_text(f"{own.read_text()}components:\n  - egress\n")
    wanted = objects(kustomized(own.parent))
    (key,) = wanted.keys() - without.keys()
    assert key == ("NetworkPolicy", "manager-egress")
    asked: dict[str, Any] = {"config": CONFIG, "egress": {"enabled": True}}
    assert made(helm, asked)[key] == wanted[key]
    assert key not in made(helm, {"config": CONFIG})
    more = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 3128}]}
    asked["egress"].update(more=[more], apiServer=["10.0.0.1/32"])
    *_, api, _, last = made(helm, asked)[key]["spec"]["egress"]
    assert last == more
    assert api["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


def test_the_chart_has_what_kustomize_has_but_the_namespace(helm: Path) -> None:
    wanted = objects(*(kustomized(ROOT / place) for place in ("kubernetes", "kubernetes/manager")))
    del wanted["Namespace", "mayfly"]
    assert made(helm, {"config": CONFIG}) == wanted
    assert len(wanted) == 8


def test_what_its_values_say_is_in_it(helm: Path) -> None:
    found = made(
        helm,
        {
            "config": CONFIG,
            "image": {"repository": "registry.lab/m", "tag": "9", "pullSecrets": ["lab"]},
            "credentials": "tokens",
            "state": {"size": "1Gi", "storageClass": "fast"},
            "resources": {"limits": {"memory": "1Gi"}},
        },
    )["StatefulSet", "mayfly"]["spec"]
    pod = found["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.lab/m:9"
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}
    assert pod["imagePullSecrets"] == [{"name": "lab"}]
    secrets = [one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one]
    assert secrets == ["tokens"]
    claim = found["volumeClaimTemplates"][0]["spec"]
    assert claim["storageClassName"] == "fast"
    assert claim["resources"]["requests"] == {"storage": "1Gi"}


def test_without_a_configuration_it_says_what_is_missing(helm: Path) -> None:
    done = rendered(helm, {})
    assert done.returncode != 0
    assert "config is the manager's configuration" in done.stderr
