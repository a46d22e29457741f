"""A real manager with several pools at work, and a real Prometheus that scrapes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.github import FakeGitHub
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvml import Hardware
from tests.pages import ROOT
from tests.prometheus import Prometheus, free_port, programs

DOCS = "https://docs.lab.example/mayfly"
POOLS = """
[[pool]]
name = "gpu"
slots = 2
gpus = 1
image = "mayfly/local:cpu"
network = "none"
reserve = true
[[pool]]
name = "cpu"
slots = 2
network = "none"
[[pool]]
name = "torch"
provider = "github"
slots = 1
image = "lab/torch:2.9"
url = "URL/acme"
token = { file = "TOKEN" }
"""
DAYS = 60  # for which the pool's token is good


@dataclass(frozen=True, slots=True)
class MetricsLab:
    """A manager that serves its metrics at an address of loopback."""

    manager: GpuManager
    address: str


@pytest.fixture(scope="module")
def folder() -> Path:
    """Of prometheus and promtool."""
    return programs()


@pytest.fixture(scope="module")
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as one:
        for gpu in range(2):
            one.gpu(gpu, used=61000 + 7000 * gpu, util=93 - 20 * gpu)
            one.say(f"clocks gpu={gpu} temperature={61 + gpu}")
        yield one


@pytest.fixture(scope="module")
def lab(
    worker_engine: PrivateEngine,
    runtime: NvidiaRuntime,
    hardware: Hardware,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MetricsLab]:
    """Jobs of its have ended, run and wait."""
    address = f"127.0.0.1:{free_port()}"
    token = tmp_path_factory.mktemp("lab") / "token"
    token.write_text("ghp_good")
    token.chmod(0o600)
    with FakeGitHub() as fake:
        fake.tokens["ghp_good"].expires = time.time() + DAYS * 86400
        pools = POOLS.replace("URL", fake.url).replace("TOKEN", str(token))
        keys = f'metrics = "{address}"\ndocs = "{DOCS}"'
        with GpuManager(worker_engine.url, hardware, pools, keys) as manager:
            at_work(manager)
            yield MetricsLab(manager, address)


def at_work(manager: GpuManager) -> None:
    """Start it; have jobs end, run and wait."""
    manager.start(wait="answer")
    for code in (0, 3):
        manager.ended(manager.queue("sh", "-c", f"exit {code}", pool="cpu"))
    jobs = [manager.queue("sleep", "600", pool="gpu") for _ in range(4)]
    for job in jobs[:2]:
        manager.started(job)
    manager.cli("cordon", "cpu-1", "--note", "new disk on Friday")


@pytest.fixture(scope="module")
def prometheus(
    lab: MetricsLab, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """It scrapes each second, and an alert that waits minutes for its cause to last waits a second."""
    home = tmp_path_factory.mktemp("prometheus")
    rules = (ROOT / "docs/grafana/alerts.yml").read_text()
    for wait in ("5m", "15m", "1h"):
        rules = rules.replace(f"for: {wait}", "for: 1s")
    (home / "alerts.yml").write_text(rules)
    config = home / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [alerts.yml]\n"
        "scrape_configs:\n"
        f"  - {{job_name: mayfly, static_configs: [{{targets: ['{lab.address}']}}]}}\n"
    )
    with Prometheus(folder, config, home) as one:
        one.comes_to("sum(mayfly_slots_desired)", 5)
        yield one
