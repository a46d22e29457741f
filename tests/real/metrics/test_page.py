"""docs/grafana/README.md, typed: from a manager that serves its numbers to a Prometheus with its alerts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.harness import until
from tests.pages import ROOT, Console, consoles
from tests.prometheus import Prometheus
from tests.real.metrics.conftest import MetricsLab

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(600)]

PAGE = "docs/grafana/README.md"
BLOCKS = {one.number: one for one in consoles() if one.page == PAGE and one.mark is None}


def plain(text: str) -> list[str]:
    """Lines without the moment of a sample."""
    return [re.sub(r"@\[[\d.]+\]", "@", line).strip() for line in text.splitlines() if line.strip()]


def test_each_line_leads_from_nothing_to_numbers_and_alerts_in_prometheus(
    lab: MetricsLab, folder: Path, tmp_path: Path
) -> None:
    (config,) = re.findall(r"```yaml\n(global:.*?)```", (ROOT / PAGE).read_text(), re.DOTALL)
    place = tmp_path / "etc"
    place.mkdir()
    here = {"127.0.0.1:9925": lab.address, "/etc/prometheus": str(place)}

    def as_here(text: str) -> str:
        for shown, ours in here.items():
            text = text.replace(shown, ours)
        return text

    def typed(block: Console) -> None:
        for command, shown in block.typed:
            line = as_here(command).replace("sudo ", "")
            if line == "systemctl reload prometheus":
                server.reload()
                continue
            done = subprocess.run(
                ["bash", "-c", f"PATH={folder}:$PATH; {line}"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (line, done.stderr)
            assert set(plain(as_here("\n".join(shown)))) <= set(plain(done.stdout)), line

    # A scrape each second in place of two a minute, so that nobody waits for it.
    (place / "prometheus.yml").write_text(as_here(config).replace("30s", "1s"))
    curl, install, query = BLOCKS.values()
    typed(curl)
    with Prometheus(folder, place / "prometheus.yml", tmp_path) as server:
        here["127.0.0.1:9090"] = f"127.0.0.1:{server.port}"
        typed(install)
        server.comes_to("sum(mayfly_slots_desired)", 5)
        typed(query)
        until(lambda: server.get("rules")["groups"], "the alerts are read")
