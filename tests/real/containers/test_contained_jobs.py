"""Jobs of the embedded queue that run in an image of their own: `mayfly submit --image`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import until
from tests.real.containers.lab import AGENT_IMAGE, Lab, clients
from tests.real.containers.service_clients.images import JOB, make

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(900)]

# The agent's image has no docker command; a dataset has.
POOL = """
[[pool]]
name = "own"
provider = "local"
slots = 1
image = "mayfly/local:cpu"
containers = true
allowed_images = ["base:*"]
[[pool.dataset]]
source = "{clients}"
target = "/clients"
env = "CLIENTS"
[pool.env]
PATH = "/clients/bin:/usr/local/bin:/usr/bin:/bin"
OF_THE_POOL = "yes"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab({"cpu": 1}) as made:
        make(AGENT_IMAGE, {"DOCKER_HOST": made.engine.url})
        made.manager.configure(made.pools() + POOL.format(clients=clients()))
        assert made.manager.cli("reload").returncode == 0
        yield made


def submitted(lab: Lab, script: str, *options: str) -> str:
    of = ("--pool", "own", "--image", JOB, "--timeout", "200", *options)
    return lab.manager.submit("bash", "-c", script, options=of)


def test_it_runs_there_with_what_it_brought_and_ends_as_it_ends(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/brought").write_text("from home\n")
    script = (
        "cat brought; pwd; id -u; echo $OF_THE_POOL $OWN; ls $CLIENTS/bin/docker; echo err >&2;"
        "mkdir made && echo results >made/it; test ! -e /opt/mayfly/none; exit 7"
    )
    options = ("--dir", str(tmp_path / "in"), "--out", "made", "--env", "OWN=mine")
    job = submitted(lab, script, *options)
    done = lab.done(job)
    assert done.code == 7, (done, lab.gateway.log()[-2000:])
    assert done.lines == ["from home", "/workspace", "0", "yes mine", "/clients/bin/docker"]
    assert done.err == "err\n"
    assert lab.manager.json("jobs")["jobs"][0]["image"] == JOB
    back = tmp_path / "back"
    fetched = lab.manager.cli("fetch", job, "-o", str(back))
    assert fetched.returncode == 0, fetched.stderr
    assert [file.read_text() for file in back.rglob("it")] == ["results\n"]
    lab.clean()


def test_one_that_is_cancelled_is_told_to_end_and_leaves_nothing(lab: Lab) -> None:
    script = "trap 'echo told; exit 9' TERM; echo begun; while :; do sleep 0.1; done"
    job = submitted(lab, script)
    until(lambda: "begun" in lab.manager.logs(job).stdout, "the job has begun", 120)
    assert lab.manager.cli("cancel", job).returncode == 0
    done = lab.done(job)
    assert done.row["state"] == "cancelled"
    assert "told" in done.out
    lab.clean()


def test_an_image_that_the_pool_does_not_allow_is_refused_before_it_waits(lab: Lab) -> None:
    words = ("submit", "--pool", "own", "--image", "debian:12", "--", "true")
    refused = lab.manager.cli(*words)
    assert refused.returncode != 0
    assert 'pool "own" does not let jobs ask for image debian:12' in refused.stderr
