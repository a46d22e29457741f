"""Dashboard and alerts over a manager at work: every query is answered, and an alert fires."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import until
from tests.pages import ROOT, consoles
from tests.prometheus import Prometheus
from tests.real.metrics.conftest import DAYS, DOCS, MetricsLab

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(600)]

FILE = ROOT / "docs/grafana/mayfly.json"
BOARD = json.loads(FILE.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
# What shows nothing here: the service hands no jobs out and has none that wait, nobody has reserved a GPU,
# the host pauses for nobody, no GPU was throttled or has a finding, and nothing failed.
EMPTY = {
    *("service_jobs", "reservations", "host_seconds", "gpu_check", "throttled"),
    *("agents_expired", 'result="failed"', "energy"),
}


def queries() -> Iterator[tuple[str, str]]:
    """The title of each panel with each of its expressions, for all hosts and pools."""
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".+").replace("$pool|", ".*")
            yield panel["title"], expression.replace("$pool", ".+")


@pytest.fixture(scope="module")
def seen(lab: MetricsLab, prometheus: Prometheus) -> Prometheus:
    """It has seen a job end, and what is counted over a time."""
    lab.manager.ended(lab.manager.queue("true", pool="cpu"))
    for counter in ("jobs", "agents_finished"):
        expression = f"sum(increase(mayfly_{counter}_total[1h])) > bool 0"
        prometheus.comes_to(expression, 1)
    return prometheus


def test_every_query_of_the_dashboard_is_answered_and_shows_what_is_there(seen: Prometheus) -> None:
    empty = [
        f"{title}: {expression}"
        for title, expression in queries()
        if not seen.series(expression) and not any(word in expression for word in EMPTY)
    ]
    assert empty == []
    assert len(list(queries())) > 50


QUESTIONS = re.findall(
    r"^\| [^|]+\? \| `(.+)` \|$",
    (ROOT / "docs/reference/metrics.md").read_text(),
    re.MULTILINE,
)


def test_every_query_of_the_page_of_metrics_is_answered(seen: Prometheus) -> None:
    assert len(QUESTIONS) == 11
    empty = [query for query in QUESTIONS if not seen.series(query)]
    # Each GPU that a slot has is at work, and the token is good for longer.
    assert [query.partition(" ")[0] for query in empty] == [
        "mayfly_gpu_utilisation_ratio",
        "mayfly_token_end_timestamp_seconds",
    ]


def test_its_variables_are_filled(seen: Prometheus) -> None:
    for entry in BOARD["templating"]["list"]:
        if entry["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", entry["query"]["query"])
            assert found is not None
            rows = seen.series(found[1].replace("$instance", ".+")) or []
            assert {row["metric"][found[2]] for row in rows}, entry["name"]


def test_what_it_shows_is_what_the_manager_does(seen: Prometheus) -> None:
    def shown(title: str) -> dict[str, Any]:
        rows = (seen.series(expression) or [] for panel, expression in queries() if panel == title)
        return {
            ":".join(row["metric"].get(name, "") for name in ("pool", "code", "phase")): float(
                row["value"][1]
            )
            for found in rows
            for row in found
        }

    assert shown("Jobs that wait")["gpu::"] == 2
    assert shown("Longest wait")["gpu::"] > 0
    assert shown("Busy share by pool")["gpu::"] == 1
    assert shown("GPU at work by pool") == {"gpu::": pytest.approx(0.83)}
    assert shown("Slots by phase")["::busy"] == 2
    assert shown("Conditions")["torch:slot.held:"] == 1
    assert shown("Days left of tokens")["torch::"] == pytest.approx(DAYS, abs=0.1)
    assert shown("Services up") == {"torch::": 1}


def test_an_alert_fires_for_a_pool_whose_image_nobody_has_built(prometheus: Prometheus) -> None:
    (alert,) = until(
        lambda: [
            one
            for one in prometheus.firing("MayflyConditionError")
            if one["labels"]["code"] == "slot.held"
        ],
        "the alert for the held slot fires",
    )
    assert alert["labels"]["pool"] == "torch"
    runbook = f"{DOCS}/how-to/troubleshooting.html#slot.held"
    assert alert["annotations"]["runbook_url"] == runbook
    for silent in ("MayflyDown", "MayflyEngineDown", "MayflyLoopStale", "MayflyConfigRejected"):
        assert prometheus.firing(silent) == [], silent


def test_an_alert_fires_for_a_configuration_with_a_mistake_and_ends_with_it(
    lab: MetricsLab, prometheus: Prometheus
) -> None:
    good = lab.manager.config.read_text()
    lab.manager.config.write_text(good + "\nslotz = 2\n")
    manager = lab.manager.process
    assert manager is not None
    try:
        manager.send_signal(signal.SIGHUP)  # as systemctl reload does
        until(lambda: prometheus.firing("MayflyConfigRejected"), "the alert fires")
    finally:
        lab.manager.config.write_text(good)
    manager.send_signal(signal.SIGHUP)
    until(lambda: not prometheus.firing("MayflyConfigRejected"), "the alert ends")


def test_the_socket_shows_what_the_page_of_metrics_does(lab: MetricsLab) -> None:
    """It has as many jobs queued as the page shows."""
    (block,) = (one for one in consoles() if one.page == "docs/reference/metrics.md")
    ((command, shown),) = block.typed
    line = command.removeprefix("sudo ").replace(
        "/run/mayfly/control.sock", str(lab.manager.socket)
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert {*shown} <= {*done.stdout.splitlines()}


def test_the_metrics_of_a_manager_at_work_are_clean(lab: MetricsLab, folder: Path) -> None:
    told = lab.manager.read("/v1/metrics")
    done = subprocess.run(
        [folder / "promtool", "check", "metrics"], input=told, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not re.search(rb"_created[ {]", told)


def test_grafana_s_own_kinds_read_the_dashboard() -> None:
    """Strictly: by the Foundation SDK, which Grafana makes from its schemas; and it finds what is wrong."""
    made = subprocess.run(
        [ROOT / "scripts/board-reader"], capture_output=True, text=True, check=False
    )
    if made.returncode == 75:
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    reader = made.stdout.strip()
    read = subprocess.run([reader, FILE], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stdout) == (0, f"{len(PANELS)} {len(list(queries()))}\n")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"type": "stat"', '"type": "stats"'),
        ('"expr":', '"expression":'),
        ('"displayMode": "list"', '"displayMode": 7'),
        ('"showPoints"', '"points"'),
    ],
)
def test_a_dashboard_that_grafana_would_not_know_is_refused(
    right: str, wrong: str, tmp_path: Path
) -> None:
    made = subprocess.run(
        [ROOT / "scripts/board-reader", "--there"], capture_output=True, text=True, check=False
    )
    if made.returncode == 75:
        pytest.skip("it was not built")
    text = FILE.read_text()
    assert right in text
    broken = tmp_path / "board.json"
    broken.write_text(text.replace(right, wrong))
    read = subprocess.run(
        [made.stdout.strip(), broken], capture_output=True, text=True, check=False
    )
    assert read.returncode == 1, read.stdout
