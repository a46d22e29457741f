"""The services' own clients with a job in a container, call by call: what they do with an Engine of their
own, they do with the socket of an agent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.containers.lab import AGENT_IMAGE, Lab, clients
from tests.real.containers.service_clients.images import JOB, SERVICE, make

pytestmark = [
    *(pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(900)),
    pytest.mark.seen("azure", "a job with containers", with_="fake"),
]
CLIENTS = ("azure", "github", "gitlab")
MODULE = "tests.real.containers.service_clients"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", autouse=True)
def images(lab: Lab) -> None:
    make(AGENT_IMAGE, {"DOCKER_HOST": lab.engine.url})


def steps(said: str) -> list[str]:
    """What the client did, from one call to the next."""
    return [json.loads(line)["step"] for line in said.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("client", CLIENTS)
def test_its_job_runs_in_its_container_with_a_service_beside_it(lab: Lab, client: str) -> None:
    script = f"export IMAGE={JOB} SERVICE={SERVICE} WORK=/workspace CLIENTS=/clients\n"
    done = lab.well(f"{script}python3 -m {MODULE}.{client}")
    assert steps(done.out)[-1] == "done", done.out[-3000:]
    lab.clean()


@pytest.mark.parametrize("client", ["github", "gitlab"])
def test_in_a_slot_with_gpus_all_that_it_starts_may_have_them(lab: Lab, client: str) -> None:
    script = f"export IMAGE={JOB} SERVICE={SERVICE} WORK=/workspace CLIENTS=/clients GPUS=all\n"
    done = lab.well(f"{script}python3 -m {MODULE}.{client}", pool="gpu")
    assert steps(done.out)[-1] == "done", done.out[-3000:]


@pytest.mark.parametrize("client", CLIENTS)
def test_beside_a_real_engine_it_does_the_same(lab: Lab, client: str, tmp_path: Path) -> None:
    """Else the test would be of the stub alone."""
    around = {
        "DOCKER_HOST": lab.engine.url,
        "DOCKER_BUILDKIT": "0",
        "IMAGE": JOB,
        "SERVICE": SERVICE,
        "WORK": str(tmp_path),
        "CLIENTS": clients(),
        "ELSEWHERE": lab.engine.url.removeprefix("unix://"),
        "BUILDS": "1",
        "PATH": f"{clients()}/bin:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"{MODULE}.{client}"],
        cwd=ROOT,
        env={**os.environ, **around},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
