"""What the page types, tried with a Gitea that is there: four lines, and three CUDA versions at once."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.engine import command
from tests.harness import Manager, until
from tests.images import served
from tests.pages import ROOT, consoles
from tests.real.gitea.real_pool import TAG, GiteaPool
from tests.real.gitea.real_server import GiteaServer, Parts

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(600)]

PAGE = "docs/how-to/gitea.md"
BUILT = "mayfly/gitea:cpu"  # what the first line builds
CUDA = ("11.8", "12.8", "13.0")


@pytest.fixture
def host() -> Iterator[str]:
    """The URL of this host's own Engine, as only from there a build fetches packages; its image of that name
    is afterwards what it was.
    """
    url = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if command.docker(url, "ps", "-aq", "--filter", "label=io.mayfly.host").stdout:
        pytest.skip("this host's Engine serves a Mayfly already, and an Engine serves one")
    there = command.docker(url, "images", "-q", "--no-trunc", BUILT).stdout.split()
    try:
        yield url
    finally:
        if there:
            command.docker(url, "tag", there[0], BUILT)
        else:
            command.docker(url, "rmi", BUILT, check=False)


def typed(line: str, words: Mapping[str, str], stdin: str, manager: Manager, path: Path) -> None:
    """One line of the page by root, with those words of it replaced by what they are here."""
    for word, here in words.items():
        line = line.replace(word, here)
    environment = {
        **manager.environment(),
        "PATH": f"{path}:{os.environ['PATH']}",
        "DOCKER_HOST": manager.docker_host,
    }
    done = subprocess.run(
        ["bash", "-c", line.removeprefix("sudo ")],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_four_typed_lines_lead_to_a_green_job(host: str, built: Parts, tmp_path: Path) -> None:
    (tmp_path / "mayfly").write_text(f'#!/bin/sh\nexec {sys.executable} -m mayfly.cli.app "$@"\n')
    (tmp_path / "mayfly").chmod(0o755)
    home = tmp_path / "gitea"
    home.mkdir()
    # (Of a bridge that was there before it, an Engine says no gateway.)
    form = "{{(index .IPAM.Config 0).Subnet}}"
    subnet = command.docker(host, "network", "inspect", "-f", form, "bridge").stdout.strip()
    gateway = str(next(ipaddress.ip_network(subnet).hosts()))
    runner = built.runner.read_bytes()
    base = subprocess.run(
        [ROOT / "scripts/base-image"], stdout=subprocess.PIPE, text=True, check=True
    )
    with ExitStack() as stack:
        server = stack.enter_context(GiteaServer(built, home, address=gateway))
        address = stack.enter_context(served(runner, gateway))
        manager = stack.enter_context(Manager(host))
        manager.config.unlink()
        drop_in = manager.config.with_name("conf.d") / "own.toml"
        drop_in.parent.mkdir()
        drop_in.write_text(f'[host]\nstate_dir = "{manager.state}"\nsocket = "{manager.socket}"\n')
        words = {
            # The maker's place is not asked here: the runner was built from its source.
            "cpu --provider gitea": "cpu --provider gitea --build-arg RUNNER_VERSION=1.0.8"
            f" --build-arg RUNNER_SHA256={hashlib.sha256(runner).hexdigest()}"
            f" --build-arg RUNNER_URL={address} --base {base.stdout.strip()}",
            "/etc/mayfly": str(manager.home),
            "https://gitea.example.org": f"{server.url} --plain-http",
        }
        repository = server.make_repository("ourlab", "hello")
        (workflow,) = re.findall(r"```yaml\n(.*?)```", (ROOT / PAGE).read_text(), re.DOTALL)
        server.add_workflow(repository, "hello.yml", workflow)
        token = server.token("write:organization")
        (block,) = (one for one in consoles() if (one.page, one.number) == (PAGE, 0))
        took = []
        for line, _ in block.typed:
            began = time.monotonic()
            if line == "sudo systemctl enable --now mayfly":
                manager.start()
            else:
                typed(line, words, token, manager, tmp_path)
            took.append(f"{time.monotonic() - began:.1f} s  {line}")
        assert len(took) == 4
        began = time.monotonic()
        run = server.run(repository, "hello.yml")
        until(lambda: server.job(repository, run)["status"] == "completed", "the job ends")
        took.append(f"{time.monotonic() - began:.1f} s  the job, from the button to its result")
        print(*took, sep="\n")
        job = server.job(repository, run)
        log = server.log_of(repository, run)
        assert job["conclusion"] == "success", log
        assert "hello from " in log
        assert re.search(r"\blab-\d\b", job["runner_name"]), job


def test_each_of_three_cuda_versions_is_tested_on_a_slot_of_its_own(pool: GiteaPool) -> None:
    """The page's workflow, with another step for the test: here are no GPUs, and no library to be tested."""
    common = f'provider = "gitea"\nslots = 1\nimage = "{TAG}"\nnetwork = "host"\n'
    service = (
        f'[pool.gitea]\nurl = "{pool.server.url}"\nscope = "{pool.scope}"\n'
        f'token = {{ file = "{pool.manager.home}/token" }}\n'
    )
    names = {cuda: f"cuda{cuda.replace('.', '')}" for cuda in CUDA}
    pool.manager.configure(
        "".join(
            f'[[pool]]\nname = "{name}"\nlabels = ["gpu", "cuda-{cuda}"]\n{common}{service}'
            for cuda, name in names.items()
        )
    )
    pool.manager.start()
    assert pool.server.call("PATCH", f"/repos/{pool.repository}", {"private": True}).ok
    text = (ROOT / "docs/how-to/gitea-workflow.yml").read_text()
    kept, step, _ = text.partition("      - name: test\n")
    seen = '          test -e README.md && echo "tested against ${{ matrix.cuda }}"\n'
    pool.server.add_workflow(pool.repository, "cuda.yml", f"{kept}{step}        run: |\n{seen}")
    runs = f"/repos/{pool.repository}/actions/runs"
    (run,) = until(lambda: pool.server.get(runs)["workflow_runs"], "the commit begins a run")

    def ended() -> list[dict[str, Any]] | None:
        there = pool.server.jobs(pool.repository, run["id"])
        return there if all(job["status"] == "completed" for job in there) else None

    jobs = until(ended, "its jobs end")
    logs = {job["id"]: pool.server.log_of_job(pool.repository, job["id"]) for job in jobs}
    assert [job["conclusion"] for job in jobs] == ["success"] * 3, logs
    for cuda, name in names.items():
        (job,) = (job for job in jobs if f"cuda-{cuda}" in job["labels"])
        assert f"tested against {cuda}\n" in logs[job["id"]]
        assert re.search(rf"\b{name}-0\b", job["runner_name"]), job
    assert sorted(row["slot"] for row in pool.history(3)) == sorted(
        f"{n}-0" for n in names.values()
    )
